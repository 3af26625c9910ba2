//! What becomes of records that an operator cannot process, and of what it measured, as seen from the committer.

use super::*;
use crate::call::{Metric, OwnMetric};
use crate::fakes::FakeOperator;
use std::collections::BTreeMap;

fn with(on_error: ErrorPolicy) -> Arc<Plan> {
    plan(vec![OperatorNode { on_error, ..node(false, 0, Target::Sink(OUT)) }], 1)
}

/// Everything the run gives until its end.
fn whole(crew: Crew) -> Epoch {
    let before = crew.wait_for_end();
    let mut epoch = crew.cut(true);
    for report in before {
        if let Report::Output { worker, sink, batch } = report {
            let texts = batch.values.iter().map(|value| String::from_utf8(value.unwrap().to_vec()).unwrap());
            if sink == OUT { epoch.out.extend(texts.map(|text| (worker, text))) } else { epoch.letters.extend(texts) }
        }
    }
    crew.stop();
    epoch
}

#[test]
fn a_skipped_record_is_counted_and_leaves_nothing() {
    for fault in [(|call| trap_on(call, "7")) as fn(&Call) -> _, |call| reject(call, "7")] {
        let crew = start(&with(ErrorPolicy::Skip), 20, 20, fault);
        let board = Arc::clone(&crew.shared.board);
        let epoch = whole(crew);
        assert_eq!(values(&epoch), numbers(0..20, &["7"]));
        assert_eq!(epoch.letters, Vec::<String>::new());
        let counters = &board.operators[0];
        assert_eq!((counters.refused.get(), counters.dropped.get()), (1, 1));
    }
}

#[test]
fn a_record_that_must_stop_the_pipeline_does_and_is_named() {
    type Fault = fn(&Call) -> Result<(), CallError>;
    let faults: [(Fault, &str); 2] =
        [(|call| trap_on(call, "7"), "trapped: unreachable"), (|call| reject(call, "7"), "bad number")];
    for (fault, reason) in faults {
        let crew = start(&with(ErrorPolicy::Stop), 20, 20, fault);
        let error = loop {
            match crew.reports.recv().unwrap() {
                Report::Stopped(stoppage) => break stoppage.error,
                Report::Part(_) => panic!("it goes on"),
                _ => {}
            }
        };
        let place = "source `numbers`, partition 0, offset 7";
        assert_eq!(error.to_string(), format!("operator `op-0` stopped the pipeline at {place}: {reason}"));
        crew.stop();
    }
}

/// Refuses the records with this value, all of a call at once.
fn reject(call: &Call, text: &str) -> Result<(), CallError> {
    let rows = (0..).zip(call.batch.values.iter()).filter(|(_, value)| *value == Some(text.as_bytes()));
    let rows: Vec<(u32, String)> = rows.map(|(row, _)| (row, "bad number".to_owned())).collect();
    if rows.is_empty() { Ok(()) } else { Err(CallError::Reject(rows)) }
}

#[test]
fn a_dropped_epoch_measured_nothing_and_a_replayed_one_counts_once() {
    let plan = with(ErrorPolicy::Skip);
    let descriptor = Descriptor { outputs: vec!["out".to_owned()], ..Descriptor::default() };
    let measure = FakeOperator::new(descriptor, |call| {
        let rows = call.batch.len() as u64;
        call.metric(Metric::Count("seen".to_owned(), rows)).map_err(CallError::from)?;
        trap_on(call, "7")
    });
    let crew = start_with(&plan, (20, 5), INBOX_BYTES_MAX, &(Arc::new(measure) as Arc<dyn OperatorFactory>));
    let own = Arc::clone(&crew.shared.board.operators[0].own);
    crew.wait_for_end();
    assert_eq!(own.values(), BTreeMap::new(), "an open epoch");
    // The epoch is cut and then lost.
    crew.tell(&Command::Cut { last: false, switch: None });
    while !matches!(crew.reports.recv().unwrap(), Report::Part(_)) {}
    crew.tell(&Command::Hold);
    while !matches!(crew.reports.recv().unwrap(), Report::Held) {}
    assert_eq!(own.values(), BTreeMap::new(), "a frozen epoch");
    crew.reset();
    while !matches!(crew.reports.recv().unwrap(), Report::Ready) {}
    crew.tell(&Command::Resume);
    crew.wait_for_end();
    crew.cut(true);
    crew.stop();
    assert_eq!(own.values(), BTreeMap::from([("seen".to_owned(), OwnMetric::Counter(19))]));
}
