//! What may happen to keyed state, at random.

use super::store::Failure;
use super::{COUNT, ITEMS, LAST, LEASE, LOG, RECENT, RULES, SEEN, TAGS, TRAIL};
use proptest::prelude::*;

/// One thing that happens within a call. Key rows are taken modulo the number there are.
#[derive(Debug, Clone)]
pub(super) enum Effect {
    ReadValues { state: u32 },
    PutValues { state: u32, values: Vec<(u32, Option<Vec<u8>>)> },
    ReadEntries { state: u32, entries: Vec<(u32, Vec<u8>)> },
    PutEntry { state: u32, key_row: u32, map_key: Vec<u8>, value: Option<Vec<u8>> },
    Names { state: u32, key_row: u32, prefix: Vec<u8>, after: Option<Vec<u8>>, count_max: usize },
    Scan { state: u32, key_row: u32, start: Vec<u8>, end: Option<Vec<u8>>, descending: bool, bytes_max: u32 },
    Append { state: u32, elements: Vec<(u32, Vec<u8>)> },
    Elements { state: u32, key_row: u32, bytes_max: u32 },
    Touch { state: u32, key_row: u32, map_key: Vec<u8> },
    Clear { state: u32, key_row: u32 },
    Mark,
    UndoTo { mark: usize },
    ReadBroadcast { map_key: Vec<u8> },
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Calls with `keys`; effects count if `applies`; the store answers so during the call.
    Call {
        keys: Vec<Vec<u8>>,
        effects: Vec<Effect>,
        applies: bool,
        failure: Failure,
    },
    /// Records of the broadcast input: entries set or removed, or all of them cleared.
    Broadcast {
        puts: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        clears: bool,
        applies: bool,
    },
    Pass {
        watermark_ms: i64,
        now_ms: i64,
    },
    Freeze,
    Applied,
    DropEpochs,
    Restart,
    Evict {
        bytes: usize,
    },
}

/// Few enough to meet again, and of all the lengths that are kept differently.
fn user_key() -> impl Strategy<Value = Vec<u8>> {
    (0u8..24, prop::sample::select(vec![0usize, 1, 8, 15, 16, 22, 23, 24, 25, 300]))
        .prop_map(|(letter, len)| vec![letter % 6; len])
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let len = prop::sample::select(vec![0usize, 1, 8, 11, 12, 22, 23, 24, 100]);
    (any::<u8>(), len).prop_map(|(byte, len)| vec![byte; len])
}

fn value() -> impl Strategy<Value = Option<Vec<u8>>> {
    prop::option::weighted(0.75, bytes())
}

fn map_key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..3, 0..4)
}

fn effect() -> impl Strategy<Value = Effect> {
    let value_state = prop::sample::select(vec![COUNT, LAST, SEEN, LEASE]);
    let map_state = prop::sample::select(vec![ITEMS, TAGS, RECENT]);
    let list_state = prop::sample::select(vec![LOG, TRAIL]);
    let timed_state = prop::sample::select(vec![COUNT, SEEN, RECENT, TRAIL, LEASE]);
    let key_row = 0u32..64;
    let bytes_max = prop::sample::select(vec![0u32, 20, 200, u32::MAX]);
    let reads = prop_oneof![
        value_state.clone().prop_map(|state| Effect::ReadValues { state }),
        (map_state.clone(), prop::collection::vec((key_row.clone(), map_key()), 0..5))
            .prop_map(|(state, entries)| Effect::ReadEntries { state, entries }),
        (map_state.clone(), key_row.clone(), map_key(), prop::option::of(map_key()), 0usize..9).prop_map(
            |(state, key_row, prefix, after, count_max)| Effect::Names { state, key_row, prefix, after, count_max }
        ),
        (map_state.clone(), key_row.clone(), map_key(), prop::option::of(map_key()), any::<bool>(), bytes_max.clone())
            .prop_map(|(state, key_row, start, end, descending, bytes_max)| Effect::Scan {
                state,
                key_row,
                start,
                end,
                descending,
                bytes_max
            }),
        (list_state.clone(), key_row.clone(), bytes_max).prop_map(|(state, key_row, bytes_max)| Effect::Elements {
            state,
            key_row,
            bytes_max
        }),
        map_key().prop_map(|map_key| Effect::ReadBroadcast { map_key }),
    ];
    let writes = prop_oneof![
        (value_state, prop::collection::vec((0u32..64, value()), 0..6))
            .prop_map(|(state, values)| Effect::PutValues { state, values }),
        (map_state, key_row.clone(), map_key(), value())
            .prop_map(|(state, key_row, map_key, value)| Effect::PutEntry { state, key_row, map_key, value }),
        (list_state, prop::collection::vec((0u32..64, bytes()), 0..6))
            .prop_map(|(state, elements)| Effect::Append { state, elements }),
        (timed_state, key_row.clone(), map_key()).prop_map(|(state, key_row, map_key)| Effect::Touch {
            state,
            key_row,
            map_key
        }),
        (0..RULES, key_row).prop_map(|(state, key_row)| Effect::Clear { state, key_row }),
        Just(Effect::Mark),
        (0usize..3).prop_map(|mark| Effect::UndoTo { mark }),
    ];
    prop_oneof![reads, writes]
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let failure = prop_oneof![8 => Just(Failure::None), 1 => Just(Failure::Error), 1 => Just(Failure::Short)];
    let call = (
        prop::collection::vec(user_key(), 1..12),
        prop::collection::vec(effect(), 0..14),
        prop::bool::weighted(0.8),
        failure,
    )
        .prop_map(|(keys, effects, applies, failure)| Step::Call { keys, effects, applies, failure });
    let broadcast =
        (prop::collection::vec((map_key(), value()), 0..4), prop::bool::weighted(0.1), prop::bool::weighted(0.8))
            .prop_map(|(puts, clears, applies)| Step::Broadcast { puts, clears, applies });
    prop_oneof![
        14 => call,
        2 => broadcast,
        3 => (0i64..8, 0i64..8).prop_map(|(watermark_ms, now_ms)| Step::Pass { watermark_ms, now_ms }),
        3 => Just(Step::Freeze),
        3 => Just(Step::Applied),
        1 => Just(Step::DropEpochs),
        1 => Just(Step::Restart),
        2 => prop::sample::select(vec![0usize, 500, 2_000, usize::MAX]).prop_map(|bytes| Step::Evict { bytes }),
    ]
}
