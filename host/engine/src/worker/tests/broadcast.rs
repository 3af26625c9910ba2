use super::*;
use crate::fakes::FakeOperator;
use millstream_model::cell;
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use millstream_model::descriptor::{InputDescriptor, InputKind, StateKind};
use std::collections::BTreeMap;
use std::thread::ThreadId;

/// Records of the broadcast input in the order in which each worker got them.
type Seen = Arc<Mutex<BTreeMap<String, Vec<Origin>>>>;

fn descriptor() -> Descriptor {
    Descriptor {
        inputs: vec![
            InputDescriptor::records("records"),
            InputDescriptor { name: "rules".to_owned(), kind: InputKind::Broadcast },
        ],
        outputs: vec!["out".to_owned()],
        states: vec![StateDescriptor::new("rules", StateKind::Broadcast)],
        ..Descriptor::default()
    }
}

fn lend(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

/// Keeps each number of the broadcast input but 7, which it refuses; fails as a whole on a batch with 13 and others.
fn operator(seen: &Seen) -> FakeOperator {
    let seen = Arc::clone(seen);
    FakeOperator::new(descriptor(), move |call| {
        if !call.is_broadcast() {
            return Ok(());
        }
        let id: ThreadId = std::thread::current().id();
        let rows: Vec<u32> = (0..call.batch.len() as u32).collect();
        let batch = Arc::clone(&call.batch);
        let number = |row: u32| batch.values.get(row).unwrap_or_default().to_vec();
        if rows.len() > 1 && rows.iter().any(|&row| number(row) == b"13") {
            return Err(CallError::Trap { reason: "13 among others".to_owned(), backtrace: None });
        }
        for row in rows {
            if number(row) == b"7" {
                call.reject(row, "7 is refused").unwrap();
                continue;
            }
            let column: BytesColumn = [Some(number(row).as_slice())].into_iter().collect();
            call.put_broadcast(0, lend(&column), lend(&column)).unwrap();
            let origin = batch.origins[row as usize];
            seen.lock().unwrap().entry(format!("{id:?}")).or_default().push(origin);
        }
        Ok(())
    })
}

fn broadcast_plan(workers: u32) -> Arc<Plan> {
    let mut node = node(false, 2, Target::Sink(OUT));
    node.descriptor = descriptor();
    let mut plan = Arc::unwrap_or_clone(plan(vec![node], workers));
    plan.sources[0].targets = vec![Target::Operator { operator: OperatorIndex(0), input: 1 }];
    Arc::new(plan)
}

fn start_broadcast(plan: &Arc<Plan>, records: i64, seen: &Seen) -> Crew {
    let factory: Arc<dyn OperatorFactory> = Arc::new(operator(seen));
    start_with(plan, (records, 10), INBOX_BYTES_MAX, &factory)
}

#[test]
fn every_worker_gets_every_broadcast_record_in_one_order_and_one_of_them_tells_what_became_of_it() {
    let (plan, seen) = (broadcast_plan(3), Seen::default());
    let crew = start_broadcast(&plan, 200, &seen);
    let mut cells: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    let mut letters = Vec::new();
    let mut take = |epoch: &Epoch| {
        for part in &epoch.parts {
            assert!(part.worker == 0 || part.changes.is_empty(), "worker {} has changes", part.worker);
            for key in part.changes.keys.iter().flatten() {
                let key = cell::read_key(key).unwrap();
                assert_eq!((key.space, key.user_key), (CellSpace { operator: 3, state: 0 }, &[][..]));
                *cells.entry(key.cell_key.to_vec()).or_default() += 1;
            }
        }
        letters.extend(epoch.letters.clone());
    };
    // A cut in mid-stream: what was read before it, wherever, is in the first worker's part, and nothing else.
    let first = crew.cut(false);
    let read = first.parts.iter().map(|part| part.positions[0].next).max().unwrap();
    let changed: usize = first.parts.iter().map(|part| part.changes.len()).sum();
    assert_eq!(changed as i64, if read > 7 { read - 1 } else { read });
    take(&first);
    let mut has_ended = first.parts.iter().all(|part| part.ended);
    while !has_ended {
        let epoch = crew.cut(false);
        take(&epoch);
        has_ended = epoch.parts.iter().all(|part| part.ended);
    }
    take(&crew.cut(true));
    crew.stop();
    let seen = seen.lock().unwrap();
    let orders: Vec<&Vec<Origin>> = seen.values().collect();
    assert_eq!(orders.len(), 3);
    assert!(orders.iter().all(|order| **order == *orders[0]), "workers got the records in different orders");
    // Three partitions of 200, without the 7 of each.
    assert_eq!(orders[0].len(), 3 * 199);
    for partition in 0..3 {
        let own = orders[0].iter().filter(|origin| origin.partition == PartitionIndex(partition));
        assert!(own.map(|origin| origin.offset).is_sorted());
    }
    assert_eq!(letters, ["7", "7", "7"]);
    assert_eq!(cells.len(), 199, "each number once, whatever the partitions");
}

#[test]
fn one_worker_needs_no_exchange() {
    let (plan, seen) = (broadcast_plan(1), Seen::default());
    let crew = start_broadcast(&plan, 50, &seen);
    let before = crew.wait_for_end();
    assert!(before.iter().all(|report| !matches!(report, Report::Failed(_))));
    let epoch = crew.cut(true);
    assert_eq!(epoch.parts[0].changes.len(), 49);
    crew.stop();
}

#[test]
fn copies_are_the_same_at_a_cut_and_it_is_noticed_if_they_are_not() {
    let (plan, seen) = (broadcast_plan(3), Seen::default());
    let crew = start_broadcast(&plan, 30, &seen);
    crew.wait_for_end();
    let mut parts = crew.cut(true).parts;
    crew.stop();
    assert!(parts.iter().all(|part| part.copies.len() == 1 && part.copies[0].digest != 0));
    assert_eq!(check_copies(&plan, &parts), Ok(()));
    // Whoever has not looked at the state has nothing to say.
    parts[1].copies.clear();
    assert_eq!(check_copies(&plan, &parts), Ok(()));

    // An operator that takes a number on some workers and not on others.
    let first = std::sync::atomic::AtomicBool::new(true);
    let factory = FakeOperator::new(descriptor(), move |call| {
        let key: BytesColumn = [Some(&b"n"[..])].into_iter().collect();
        if call.is_broadcast() && first.swap(false, Ordering::Relaxed) {
            call.put_broadcast(0, lend(&key), lend(&key)).unwrap();
        } else if call.is_broadcast() {
            let empty = BytesColumn::default();
            call.put_broadcast(0, lend(&empty), lend(&empty)).unwrap();
        }
        Ok(())
    });
    let factory: Arc<dyn OperatorFactory> = Arc::new(factory);
    let crew = start_with(&plan, (30, 10), INBOX_BYTES_MAX, &factory);
    crew.wait_for_end();
    let parts = crew.cut(true).parts;
    crew.stop();
    let error = check_copies(&plan, &parts).unwrap_err().to_string();
    assert!(error.contains("`rules`") && error.contains("on every worker"), "{error}");
}
