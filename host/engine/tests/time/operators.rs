//! The operators of the model, over calls.

use crate::model::{
    GAP_MS, HOP_MS, HOPS, WIDE_MS, WIDTH_MS, bucket_of, bucket_of_id, gap, hop_id, hop_text, is_poison, second_key, sum,
};
use millstream_engine::call::{Call, OutputColumns};
use millstream_engine::fakes::FakeOperator;
use millstream_engine::fakes::plans::timer;
use millstream_engine::ports::CallError;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{Descriptor, InputDescriptor, StateDescriptor, StateKind, TimerClock};
use std::collections::BTreeMap;
use std::sync::Arc;

const BUCKET: u32 = 0;
const SILENCE: u32 = 1;
const HOP: u32 = 2;

/// What the first operator keeps of a key: sums by bucket, the latest time.
type Kept = (BTreeMap<i64, u64>, Option<i64>);

fn describe(timers: &[(&str, TimerClock)]) -> Descriptor {
    Descriptor {
        inputs: vec![InputDescriptor::records("in")],
        outputs: vec!["out".to_owned()],
        states: vec![StateDescriptor::new("kept", StateKind::Value)],
        timers: timers.iter().map(|(name, clock)| timer(name, *clock)).collect(),
        ..Descriptor::default()
    }
}

pub(crate) fn first() -> FakeOperator {
    let timers = ["bucket", "silence", "hop"].map(|name| (name, TimerClock::Event));
    FakeOperator::new(describe(&timers), |call| if call.fired.is_some() { fire_first(call) } else { take_first(call) })
}

pub(crate) fn second() -> FakeOperator {
    let timers = [("wide", TimerClock::Event)];
    FakeOperator::new(
        describe(&timers),
        |call| if call.fired.is_some() { fire_second(call) } else { take_second(call) },
    )
}

/// Every key is told of `rounds` times, `pause_ms` apart on the wall clock.
pub(crate) fn clocked(rounds: u64, pause_ms: i64) -> FakeOperator {
    FakeOperator::new(describe(&[("tick", TimerClock::Processing)]), move |call| {
        let mut work = Work::begin(call)?;
        let now_ms = call.mark.now_ms;
        for (row, key_row) in (0u32..).zip(call.key_rows.clone()) {
            let Some((_, count)) = work.kept.get_mut(key_row as usize) else { continue };
            let told = match (&call.fired, *count) {
                (None, None) => 0,
                // Told of already, or about to be.
                (None, Some(_)) => continue,
                (Some(_), told) => told.unwrap_or_default() + 1,
            };
            *count = Some(told);
            if told > 0 {
                work.emit(row, format!("told {told}"), None);
            }
            if told < rounds as i64 {
                call.set_timers(0, &[key_row], &[0], &[now_ms + pause_ms])?;
            }
        }
        work.end(call)
    })
}

/// What a call reads, and what it is going to stage.
struct Work {
    kept: Vec<Kept>,
    parents: Vec<u32>,
    keys: BytesColumn,
    values: BytesColumn,
    has_keys: bool,
    times_ms: Vec<Option<i64>>,
}

impl Work {
    fn begin(call: &mut Call) -> Result<Self, CallError> {
        let mut values = BytesColumn::default();
        call.values(0, &mut values)?;
        let read = |bytes: Option<&[u8]>| bytes.map(|bytes| decode(bytes)).unwrap_or_default();
        let kept = values.iter().map(read).collect();
        let (keys, values) = (BytesColumn::default(), BytesColumn::default());
        Ok(Self { kept, parents: Vec::new(), keys, values, has_keys: false, times_ms: Vec::new() })
    }

    fn emit(&mut self, row: u32, value: String, time_ms: Option<i64>) {
        self.parents.push(row);
        self.values.push(Some(value.as_bytes()));
        self.times_ms.push(time_ms);
    }

    fn end(self, call: &mut Call) -> Result<(), CallError> {
        let parent_ms = |row: &u32| call.batch.timestamps_ms.get(*row as usize).copied().unwrap_or_default();
        let times = self.parents.iter().zip(&self.times_ms);
        let times_ms: Vec<i64> = times.map(|(row, own)| own.unwrap_or_else(|| parent_ms(row))).collect();
        let keys = self.has_keys.then(|| lend(&self.keys));
        let (parents, values) = (self.parents.as_slice(), Some(lend(&self.values)));
        call.emit(OutputColumns { port: 0, parents, keys, values, timestamps_ms: Some(&times_ms), headers: None })?;
        let bytes: Vec<Vec<u8>> = self.kept.iter().map(encode).collect();
        let column: BytesColumn = bytes.iter().map(|bytes| (!bytes.is_empty()).then_some(bytes.as_slice())).collect();
        let rows: Vec<u32> = (0..bytes.len() as u32).collect();
        call.put_values(0, &rows, lend(&column))?;
        Ok(())
    }
}

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

fn encode((sums, latest_ms): &Kept) -> Vec<u8> {
    if sums.is_empty() && latest_ms.is_none() {
        return Vec::new();
    }
    let mut text = latest_ms.map_or_else(|| "-".to_owned(), |latest_ms| latest_ms.to_string());
    sums.iter().for_each(|(bucket, sum)| text.push_str(&format!(" {bucket}={sum}")));
    text.into_bytes()
}

fn decode(bytes: &[u8]) -> Kept {
    let text = String::from_utf8_lossy(bytes);
    let mut parts = text.split(' ');
    let latest_ms = parts.next().and_then(|latest| latest.parse().ok());
    let pair = |part: &str| {
        let (bucket, sum) = part.split_once('=')?;
        Some((bucket.parse().ok()?, sum.parse().ok()?))
    };
    (parts.filter_map(pair).collect(), latest_ms)
}

fn amount(call: &Call, row: u32) -> u64 {
    let value = call.batch.values.get(row).unwrap_or_default();
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn take_first(call: &mut Call) -> Result<(), CallError> {
    let mut work = Work::begin(call)?;
    let batch = Arc::clone(&call.batch);
    for ((row, key_row), time_ms) in (0u32..).zip(call.key_rows.clone()).zip(&batch.timestamps_ms) {
        if call.mark.watermark_ms.is_some_and(|watermark_ms| *time_ms < watermark_ms) {
            return Err(CallError::Stop(format!("a record of {time_ms} is late at {:?}", call.mark)));
        }
        let amount = amount(call, row);
        let Some((sums, latest_ms)) = work.kept.get_mut(key_row as usize) else { continue };
        let bucket = bucket_of(*time_ms);
        let id = (bucket + 1_000) as u64;
        if amount == 7 {
            sums.remove(&bucket);
            call.cancel_timers(BUCKET, &[key_row], &[id])?;
        } else {
            *sums.entry(bucket).or_default() += amount;
            call.set_timers(BUCKET, &[key_row], &[id], &[(bucket + 1) * WIDTH_MS])?;
        }
        let before_ms = *latest_ms;
        *latest_ms = before_ms.max(Some(*time_ms));
        call.set_timers(SILENCE, &[key_row], &[0], &[latest_ms.unwrap_or_default() + GAP_MS])?;
        if let Some(before_ms) = before_ms.filter(|before_ms| *time_ms >= before_ms + GAP_MS) {
            work.emit(row, gap(before_ms), Some(before_ms + GAP_MS));
        }
    }
    work.end(call)
}

fn fire_first(call: &mut Call) -> Result<(), CallError> {
    let mut work = Work::begin(call)?;
    let fired = call.fired.clone().unwrap_or_default();
    let batch = Arc::clone(&call.batch);
    let rows = (0u32..).zip(fired.timers.iter().zip(&fired.ids)).zip(&batch.timestamps_ms);
    for ((row, (&timer, &id)), &time_ms) in rows {
        if call.mark.watermark_ms.is_none_or(|watermark_ms| time_ms > watermark_ms) {
            return Err(CallError::Stop(format!("a timer of {time_ms} fires at {:?}", call.mark)));
        }
        let key = batch.keys.get(row).unwrap_or_default();
        let Some((sums, latest_ms)) = work.kept.get_mut(row as usize) else { continue };
        match timer {
            BUCKET => {
                let bucket = bucket_of_id(id);
                if is_poison(key, bucket) {
                    return Err(CallError::Trap { reason: "poison".to_owned(), backtrace: None });
                }
                let total = sums.remove(&bucket).unwrap_or_default();
                work.emit(row, sum(bucket, total), None);
                call.set_timers(HOP, &[row], &[hop_id(bucket, 1)], &[time_ms + HOP_MS])?;
            }
            SILENCE => {
                let latest = latest_ms.take().unwrap_or_default();
                work.emit(row, gap(latest), None);
            }
            _ => {
                let (bucket, hop) = ((id / 10) as i64 - 1_000, id % 10);
                work.emit(row, hop_text(bucket, hop), None);
                if hop < HOPS {
                    call.set_timers(HOP, &[row], &[id + 1], &[time_ms + HOP_MS])?;
                }
            }
        }
    }
    work.end(call)
}

fn take_second(call: &mut Call) -> Result<(), CallError> {
    let mut work = Work::begin(call)?;
    let batch = Arc::clone(&call.batch);
    for (key_row, &time_ms) in call.key_rows.clone().into_iter().zip(&batch.timestamps_ms) {
        if call.mark.watermark_ms.is_some_and(|watermark_ms| time_ms < watermark_ms) {
            return Err(CallError::Stop(format!("an output of {time_ms} is late at {:?}", call.mark)));
        }
        let wide = time_ms.div_euclid(WIDE_MS);
        let Some((counts, _)) = work.kept.get_mut(key_row as usize) else { continue };
        *counts.entry(wide).or_default() += 1;
        call.set_timers(0, &[key_row], &[(wide + 1_000) as u64], &[(wide + 1) * WIDE_MS])?;
    }
    work.end(call)
}

fn fire_second(call: &mut Call) -> Result<(), CallError> {
    let mut work = Work::begin(call)?;
    let fired = call.fired.clone().unwrap_or_default();
    for (row, id) in (0u32..).zip(fired.ids) {
        let Some((counts, _)) = work.kept.get_mut(row as usize) else { continue };
        let wide = bucket_of_id(id);
        let count = counts.remove(&wide).unwrap_or_default();
        work.emit(row, format!("{wide} {count}"), None);
    }
    work.end(call)
}

/// Gives every output of the first operator the key that the second one knows it by.
pub(crate) fn rekey() -> FakeOperator {
    let descriptor = Descriptor {
        inputs: vec![InputDescriptor::records("in")],
        outputs: vec!["out".to_owned()],
        ..Descriptor::default()
    };
    FakeOperator::new(descriptor, |call| {
        let parents: Vec<u32> = (0..call.batch.len() as u32).collect();
        let keys: Vec<Vec<u8>> = call
            .batch
            .values
            .iter()
            .map(|value| second_key(&String::from_utf8_lossy(value.unwrap_or_default())))
            .collect();
        let keys: BytesColumn = keys.iter().map(|key| Some(key.as_slice())).collect();
        let keys = Some(lend(&keys));
        Ok(call.emit(OutputColumns {
            port: 0,
            parents: &parents,
            keys,
            values: None,
            timestamps_ms: None,
            headers: None,
        })?)
    })
}
