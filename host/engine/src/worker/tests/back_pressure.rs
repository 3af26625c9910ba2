//! Many workers, inboxes that a single parcel overfills, and every record crossing at every stage.

use super::*;
use crate::fakes::FakeOperator;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;

/// What nobody waits longer for; a deadlock lasts for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// Emits every record twice, under two keys of which neither is its own: most of them belong to other workers.
fn scatter(call: &mut Call) -> Result<(), CallError> {
    let (mut parents, mut keys) = (Vec::new(), BytesColumn::default());
    for (row, key) in (0..).zip(call.batch.keys.iter()) {
        for branch in [b'a', b'b'] {
            parents.push(row);
            keys.push(Some(&[key.unwrap_or_default(), &[branch]].concat()));
        }
    }
    let keys = ColumnRef { ends: keys.ends(), bytes: keys.bytes(), absent: keys.absent() };
    let output = OutputColumns {
        port: 0,
        parents: &parents,
        keys: Some(keys),
        values: None,
        timestamps_ms: None,
        headers: None,
    };
    call.emit(output).map_err(CallError::from)
}

fn run(workers: u32, inbox_bytes_max: usize) {
    const RECORDS: i64 = 300;
    const STAGES: u32 = 4;
    let to = |at: u32| match at {
        STAGES => Target::Sink(OUT),
        at => Target::Operator { operator: OperatorIndex(at as u16), input: 0 },
    };
    let plan = plan((1..=STAGES).map(|stage| node(true, stage, to(stage))).collect(), workers);
    let descriptor = Descriptor { outputs: vec!["out".to_owned()], ..Descriptor::default() };
    let factory: Arc<dyn OperatorFactory> = Arc::new(FakeOperator::new(descriptor, scatter));
    let crew = start_with(&plan, (RECORDS, 16), inbox_bytes_max, &factory);
    let (mut out, mut ended) = (0, false);
    while !ended {
        crew.tell(&Command::Cut { last: false, switch: None });
        let mut parts = Vec::new();
        while parts.len() < workers as usize {
            match crew.reports.recv_timeout(PATIENCE).unwrap() {
                Report::Output { batch, .. } => out += batch.len(),
                Report::Part(part) => parts.push(part),
                Report::Failed(error) => panic!("{error}"),
                _ => {}
            }
        }
        ended = parts.iter().all(|part: &Part| part.ended);
        crew.tell(&Command::Applied(None));
    }
    assert_eq!(out, (RECORDS as usize * workers as usize) << STAGES, "{workers} workers, {inbox_bytes_max} bytes");
    crew.stop();
}

#[test]
fn no_worker_waits_for_ever_however_small_the_inboxes() {
    for (workers, inbox_bytes_max) in [(2, 1), (8, 1), (16, 1), (8, 4 << 10), (16, 64 << 10)] {
        run(workers, inbox_bytes_max);
    }
}
