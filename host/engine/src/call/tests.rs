#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crate::fakes::{FakeDisk, FakeState, Life};
use crate::keyed::StateColumn;
use crate::ports::RecordSizes;
use millstream_model::cell::CellSpace;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{StateDescriptor, StateKind};
use millstream_model::record::Origin;
use proptest::prelude::*;

/// A call of an operator without state, over as many records as there are values.
fn call(values: &[&[u8]], limits: OperatorLimits) -> Call {
    let rules = CallRules {
        limits,
        ports: vec!["out".to_owned(), "late".to_owned()],
        port_sinks: vec![vec![SinkIndex(0), SinkIndex(1)], vec![SinkIndex(1)]],
        sizes: Arc::new(SizeLimits::new(&RecordSizes { sinks: vec![64, usize::MAX], changelog: 900 })),
        inputs: vec!["in".to_owned()],
        ..CallRules::default()
    };
    let mut call = Call { rules: Arc::new(rules), ..Call::default() };
    let mut batch = RecordBatch::default();
    values.iter().for_each(|value| batch.push(Some(b"key"), Some(value), 5, Origin::default()));
    call.begin(0, Arc::new(batch), Mark::default(), false);
    call
}

fn plain() -> Call {
    call(&[b"a", b"bb", b"ccc", b"dddd"], OperatorLimits::default())
}

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

fn column(values: &[Option<&[u8]>]) -> BytesColumn {
    values.iter().copied().collect()
}

fn parents(port: u32, parents: &[u32]) -> OutputColumns<'_> {
    OutputColumns { port, parents, keys: None, values: None, timestamps_ms: None, headers: None }
}

fn is_misuse<T: std::fmt::Debug>(result: Result<T, Fault>, hint: &str) {
    match result {
        Err(Fault::Misuse(reason)) => assert!(reason.contains(hint), "{reason}"),
        other => unreachable!("{other:?} where misuse ({hint}) was due"),
    }
}

fn is_refusal<T: std::fmt::Debug>(result: Result<T, Fault>, row: u32, hint: &str) {
    match result {
        Err(Fault::Refuse { row: of, reason }) => {
            assert_eq!(of, row);
            assert!(reason.contains(hint), "{reason}");
        }
        other => unreachable!("{other:?} where row {row} was to be refused ({hint})"),
    }
}

#[test]
fn columns_that_are_left_out_are_the_parents_and_others_are_kept() {
    let mut call = plain();
    call.emit(parents(0, &[0, 2])).unwrap();
    let (keys, values) = (column(&[Some(b"k"), None]), column(&[None, Some(b"")]));
    let names = column(&[Some(b"name")]);
    let headers = (&[1u32][..], lend(&names), lend(&keys));
    is_misuse(call.emit(OutputColumns { headers: Some(headers), ..parents(1, &[1, 1]) }), "header values");
    let header_values = column(&[None]);
    let output = OutputColumns {
        keys: Some(lend(&keys)),
        values: Some(lend(&values)),
        timestamps_ms: Some(&[7, 8]),
        headers: Some((&[1], lend(&names), lend(&header_values))),
        ..parents(1, &[1, 1])
    };
    call.emit(output).unwrap();
    let [first, second] = call.staged.outputs() else { unreachable!("two were emitted") };
    assert_eq!((first.port, first.parents.as_slice()), (0, [0, 2].as_slice()));
    assert_eq!((&first.keys, &first.values, &first.timestamps_ms, &first.headers), (&None, &None, &None, &None));
    assert_eq!((second.keys.as_ref(), second.values.as_ref()), (Some(&keys), Some(&values)));
    assert_eq!(second.timestamps_ms.as_deref(), Some([7, 8].as_slice()));
    assert_eq!(second.headers.as_ref().unwrap().of(1).collect::<Vec<_>>(), [(b"name".as_slice(), None)]);
}

#[test]
fn emissions_that_break_the_contract_leave_nothing() {
    let mut call = plain();
    let (one, two) = (column(&[None]), column(&[None, None]));
    is_misuse(call.emit(parents(2, &[0])), "no output 2 (there are 2)");
    is_misuse(call.emit(parents(0, &[1, 0])), "descend");
    is_misuse(call.emit(parents(0, &[0, 4])), "parent row 4, the batch has 4 rows");
    is_misuse(call.emit(OutputColumns { keys: Some(lend(&two)), ..parents(0, &[0]) }), "emitted keys: 2 rows");
    is_misuse(call.emit(OutputColumns { values: Some(lend(&one)), ..parents(0, &[0, 1]) }), "emitted values");
    is_misuse(call.emit(OutputColumns { timestamps_ms: Some(&[]), ..parents(0, &[0]) }), "timestamps");
    let torn = ColumnRef { ends: &[2, 1], bytes: b"ab", absent: &[] };
    is_misuse(call.emit(OutputColumns { values: Some(torn), ..parents(0, &[0, 1]) }), "emitted values");
    let headers = |rows, names| OutputColumns { headers: Some((rows, names, lend(&one))), ..parents(0, &[0]) };
    is_misuse(call.emit(headers(&[1], lend(&one))), "the rows of headers");
    is_misuse(call.emit(headers(&[0], lend(&one))), "absent or not UTF-8");
    let name = column(&[Some(b"\xff")]);
    is_misuse(call.emit(headers(&[0], lend(&name))), "absent or not UTF-8");
    assert!(call.staged.outputs().is_empty());
    assert_eq!(call.staged.output_bytes, 0);
}

#[test]
fn what_is_beyond_a_limit_refuses_its_row_and_names_the_setting() {
    let limits = OperatorLimits {
        value_bytes_max: 40,
        key_bytes_max: 8,
        outputs_per_record_max: 2,
        output_bytes_max: 200,
        ..OperatorLimits::default()
    };
    let mut call = call(&[b"a", b"b", &[0; 62]], limits);
    let of = |key: usize, value: usize| (column(&[Some(&vec![0; key])]), column(&[Some(&vec![0; value])]));
    let mut emit = |port, row: u32, (keys, values): &(BytesColumn, BytesColumn)| {
        call.emit(OutputColumns { keys: Some(lend(keys)), values: Some(lend(values)), ..parents(port, &[row]) })
    };
    is_refusal(emit(1, 1, &of(1, 41)), 1, "`limits.value` allows 40");
    is_refusal(emit(1, 0, &of(9, 1)), 0, "`limits.key` allows 8");
    emit(1, 1, &of(8, 40)).unwrap();
    is_refusal(call.emit(parents(1, &[2])), 2, "an emitted value has 62 bytes");
    is_refusal(call.emit(parents(1, &[0, 1, 1, 1])), 1, "`limits.outputs_per_record`");
    call.emit(parents(1, &[0, 0, 1, 1])).unwrap();
    for _ in 0..2 {
        call.emit(OutputColumns { values: Some(lend(&of(1, 40).1)), ..parents(1, &[0]) }).unwrap();
    }
    assert_eq!(call.staged.output_bytes, 48 + 16 + 2 * 43);
    let beyond = call.emit(OutputColumns { values: Some(lend(&of(1, 40).1)), ..parents(1, &[0]) });
    assert!(matches!(beyond, Ok(())), "193 of 200");
    let beyond = call.emit(parents(1, &[0, 1]));
    assert!(matches!(beyond, Err(Fault::Limit { limit: "output_bytes", .. })), "{beyond:?}");
    assert_eq!(call.staged.output_bytes, 193);
}

#[test]
fn a_record_must_fit_every_sink_behind_its_output() {
    let mut call = plain();
    let (fits, does_not) = (column(&[Some(&[0; 61])]), column(&[Some(&[0; 62])]));
    call.emit(OutputColumns { values: Some(lend(&fits)), ..parents(0, &[3]) }).unwrap();
    let refused = call.emit(OutputColumns { values: Some(lend(&does_not)), ..parents(0, &[3]) });
    is_refusal(refused, 3, "a sink behind the output takes 64");
    call.emit(OutputColumns { values: Some(lend(&does_not)), ..parents(1, &[3]) }).unwrap();
}

/// A call of a keyed operator with a value and a map, whose changelog takes 900 bytes.
fn keyed(keys: &[&[u8]], state_value: u32) -> Call {
    let column = |name: &str, kind, state| StateColumn {
        descriptor: StateDescriptor::new(name, kind),
        space: CellSpace { operator: 0, state },
    };
    let columns = vec![column("value", StateKind::Value, 0), column("map", StateKind::Map, 1)];
    let state = FakeState::new(&Arc::new(FakeDisk::default()), &Life::default());
    let mut call = call(&[], OperatorLimits { state_value_bytes_max: state_value, ..OperatorLimits::default() });
    call.state = KeyedState::new(columns, Arc::new(state));
    let mut batch = RecordBatch::default();
    keys.iter().for_each(|key| batch.push(Some(key), None, 5, Origin::default()));
    call.begin(0, Arc::new(batch), Mark::default(), true);
    call
}

#[test]
fn a_state_that_the_limit_or_the_changelog_does_not_take_is_refused_with_its_record() {
    let put = |call: &mut Call, bytes: usize| call.put_values(0, &[1], lend(&column(&[Some(&vec![0; bytes])])));
    let mut by_limit = keyed(&[b"a", b"b"], 100);
    put(&mut by_limit, 100).unwrap();
    is_refusal(put(&mut by_limit, 101), 1, "has 101 bytes, `limits.state_value` allows 100");
    let mut by_changelog = keyed(&[b"a", b"b"], 10_000);
    put(&mut by_changelog, 867).unwrap();
    is_refusal(put(&mut by_changelog, 868), 1, "has 901 bytes with its keys, the changelog takes 900");
    let entry = |call: &mut Call, key: usize, value: Option<usize>| {
        call.put_entry(1, 0, &vec![0; key], value.map(|bytes| vec![0; bytes]).as_deref())
    };
    entry(&mut by_changelog, 400, Some(467)).unwrap();
    is_refusal(entry(&mut by_changelog, 401, Some(467)), 0, "901 bytes with its keys");
    // What cannot be written can neither be removed: the limit was lowered since.
    is_refusal(entry(&mut by_changelog, 868, None), 0, "901 bytes with its keys");
}

#[test]
fn a_state_that_several_records_made_too_large_is_left_to_the_search() {
    let mut call = keyed(&[b"a", b"b", b"a"], 100);
    let failed = call.put_values(0, &[0], lend(&column(&[Some(&[0; 101])])));
    assert!(matches!(failed, Err(Fault::Limit { limit: "state_value", .. })), "{failed:?}");
}

#[test]
fn a_limit_that_is_lowered_holds_from_then_on() {
    let mut call = plain();
    let record = column(&[Some(&[0; 61])]);
    call.emit(OutputColumns { values: Some(lend(&record)), ..parents(0, &[3]) }).unwrap();
    call.rules.sizes.refresh(&RecordSizes { sinks: vec![63, 63], changelog: 900 }).unwrap();
    is_refusal(call.emit(OutputColumns { values: Some(lend(&record)), ..parents(0, &[3]) }), 3, "takes 63");
}

#[test]
fn a_refused_row_has_no_outputs_and_is_refused_once() {
    let mut call = plain();
    call.emit(parents(0, &[1])).unwrap();
    is_misuse(call.reject(1, "bad"), "is the parent of an emission");
    is_misuse(call.reject(4, "bad"), "the batch has 4 rows");
    call.reject(2, "bad").unwrap();
    is_misuse(call.reject(2, "bad"), "refused twice");
    is_misuse(call.emit(parents(0, &[0, 2])), "row 2 was refused");
    assert_eq!(call.staged.rejections, [Rejection { row: 2, reason: "bad".to_owned() }]);
}

#[test]
fn a_long_reason_is_cut_between_letters() {
    let mut call = plain();
    call.reject(0, &format!("x{}", "é".repeat(1_000))).unwrap();
    let reason = &call.staged.rejections[0].reason;
    assert_eq!(reason.len(), 1_023);
    assert!(reason.ends_with('é'));
}

#[test]
fn undoing_drops_what_came_after_the_mark_and_later_marks() {
    let mut call = plain();
    call.emit(parents(0, &[0])).unwrap();
    let first = call.mark_staged();
    call.reject(1, "bad").unwrap();
    let second = call.mark_staged();
    call.emit(parents(0, &[2, 3])).unwrap();
    call.metric(Metric::Count("seen".to_owned(), 1)).unwrap();
    let bytes = call.staged.output_bytes;
    call.undo_to(second).unwrap();
    assert_eq!((call.staged.outputs().len(), call.staged.metrics.len()), (1, 0));
    assert_eq!(call.staged.rejections.len(), 1);
    assert!(call.staged.output_bytes < bytes);
    call.undo_to(first).unwrap();
    assert!(call.staged.rejections.is_empty());
    is_misuse(call.undo_to(second), "there is no mark 1");
    call.emit(parents(0, &[1])).unwrap();
    call.undo_to(first).unwrap();
    assert_eq!(call.staged.outputs().len(), 1);
}

#[test]
fn a_buffer_used_again_shows_nothing_of_its_past() {
    let mut call = plain();
    let mark = call.mark_staged();
    let values = column(&[Some(b"x")]);
    call.emit(OutputColumns { values: Some(lend(&values)), timestamps_ms: Some(&[1]), ..parents(1, &[3]) }).unwrap();
    call.undo_to(mark).unwrap();
    call.emit(parents(0, &[1])).unwrap();
    let expected = StagedOutput { port: 0, parents: vec![1], ..StagedOutput::default() };
    assert_eq!(call.staged.outputs(), [expected]);
}

#[test]
fn metrics_have_names_that_prometheus_takes() {
    let mut call = plain();
    for name in ["", "Seen", "1st", "with-dash", "_x"] {
        is_misuse(call.metric(Metric::Gauge(name.to_owned(), 1.0)), "no name of a metric");
    }
    call.metric(Metric::Observe("time_2_ms".to_owned(), vec![1.0])).unwrap();
    assert_eq!(call.staged.metrics.len(), 1);
}

#[test]
fn an_operator_without_state_has_a_key_row_for_each_record_and_no_states() {
    let mut call = plain();
    assert_eq!(
        (call.key_rows.as_slice(), call.first_rows.as_slice()),
        ([0, 1, 2, 3].as_slice(), [0, 1, 2, 3].as_slice())
    );
    is_misuse(call.values(0, &mut BytesColumn::default()), "there is no state 0 (there are 0)");
    is_misuse(call.clear_state(0, &[0]), "there is no state 0");
}

#[test]
fn faults_of_the_guest_trap_and_limits_refuse() {
    use crate::ports::CallError;
    assert!(matches!(CallError::from(Fault::Misuse("m".to_owned())), CallError::Trap { .. }));
    let refused = CallError::from(Fault::Refuse { row: 3, reason: "r".to_owned() });
    assert_eq!(refused, CallError::Reject(vec![(3, "r".to_owned())]));
    let limit = CallError::from(Fault::Limit { limit: "output_bytes", reason: "l".to_owned() });
    assert!(matches!(limit, CallError::Limit { limit: "output_bytes", .. }));
    assert_eq!(CallError::from(Fault::Host("h".to_owned())), CallError::Host("h".to_owned()));
}

#[derive(Debug, Clone)]
enum Request {
    Emit { port: u32, parents: Vec<u32> },
    Reject(u32),
    Mark,
    Undo(u32),
}

fn request() -> impl Strategy<Value = Request> {
    prop_oneof![
        3 => (0u32..3, prop::collection::vec(0u32..10, 0..5)).prop_map(|(port, mut parents)| {
            parents.sort_unstable();
            Request::Emit { port, parents }
        }),
        2 => (0u32..10).prop_map(Request::Reject),
        1 => Just(Request::Mark),
        1 => (0u32..4).prop_map(Request::Undo),
    ]
}

/// What is staged, as a list: an emission or a refusal.
type Staging = Vec<(u32, Vec<u32>)>;
const REFUSED: u32 = 99;

proptest! {
    #[test]
    fn staging_is_a_list_with_marks_in_it(requests in prop::collection::vec(request(), 0..40)) {
        let mut call = call(&[b"v".as_slice(); 8], OperatorLimits::default());
        let (mut model, mut marks) = (Staging::new(), Vec::new());
        for request in requests {
            match request {
                Request::Emit { port, parents: rows } => {
                    let refused = |row: &u32| model.contains(&(REFUSED, vec![*row]));
                    let good = port < 2 && rows.iter().all(|row| *row < 8 && !refused(row));
                    prop_assert_eq!(call.emit(parents(port, &rows)).is_ok(), good);
                    if good {
                        model.push((port, rows));
                    }
                }
                Request::Reject(row) => {
                    let good = row < 8 && !model.iter().any(|(_, rows)| rows.contains(&row));
                    prop_assert_eq!(call.reject(row, "bad").is_ok(), good);
                    if good {
                        model.push((REFUSED, vec![row]));
                    }
                }
                Request::Mark => {
                    prop_assert_eq!(call.mark_staged() as usize, marks.len());
                    marks.push(model.len());
                }
                Request::Undo(mark) => {
                    let known = marks.get(mark as usize).copied();
                    prop_assert_eq!(call.undo_to(mark).is_ok(), known.is_some());
                    if let Some(len) = known {
                        model.truncate(len);
                        marks.truncate(mark as usize + 1);
                    }
                }
            }
            let emitted: Staging = call.staged.outputs().iter().map(|o| (o.port, o.parents.clone())).collect();
            let refused: Staging = call.staged.rejections.iter().map(|r| (REFUSED, vec![r.row])).collect();
            let (model_refused, model_emitted): (Staging, Staging) = model.iter().cloned().partition(|(of, _)| *of == REFUSED);
            prop_assert_eq!((emitted, refused), (model_emitted.clone(), model_refused));
            let records: usize = model_emitted.iter().map(|(_, rows)| rows.len()).sum();
            prop_assert_eq!(call.staged.output_bytes, records as u64 * 4);
        }
    }
}
