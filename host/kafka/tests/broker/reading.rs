//! Where a source begins, goes back to, goes on, and when it refuses to.

use crate::setup::{SOON, kafka, positions, read, read_for, settings, source, values};
use millstream_e2e::{Positions, Record, eventually};
use millstream_engine::ports::Source as _;
use millstream_kafka::{KafkaSource, OnDataLoss, SourceSettings, Start};
use millstream_model::commit::{Gap, PartitionPosition};
use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(700);
const MS: i64 = 1_700_000_000_000;

/// A topic of one partition with these values, a second apart.
fn topic(name: &str, count: i64) -> String {
    let topic = kafka().topic(name, 1).unwrap();
    write(&topic, 0..count);
    topic
}

fn write(topic: &str, numbers: std::ops::Range<i64>) {
    let records = numbers.map(|n| Record::new("k", n.to_string()).on(0).at(MS + n * 1_000));
    kafka().client().unwrap().produce(topic, records).unwrap();
}

fn texts(numbers: std::ops::Range<i64>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

fn at(partition: i32, next: i64) -> PartitionPosition {
    PartitionPosition {
        source: "in".to_owned(),
        partition,
        from: next,
        next,
        leader_epoch: -1,
        timestamp_ms_max: Some(MS),
        idle: false,
    }
}

fn opened(settings: SourceSettings, positions: &[PartitionPosition]) -> KafkaSource {
    let mut source = source(settings);
    source.seek(positions).unwrap();
    source
}

fn refused(settings: SourceSettings, positions: &[PartitionPosition]) -> String {
    source(settings).seek(positions).unwrap_err().to_string()
}

#[test]
fn every_start_setting_begins_where_it_says() {
    let topic = topic("starts", 10);
    let begun = |start| {
        let mut source = opened(SourceSettings { start, ..settings(&topic) }, &[]);
        let next = source.progress()[0].next;
        let rest = read(&mut source, 10 - next as usize).unwrap();
        assert_eq!(values(&rest), texts(next..10));
        next
    };
    assert_eq!(begun(Start::Earliest), 0);
    assert_eq!(begun(Start::Latest), 10);
    assert_eq!(begun(Start::Offset(4)), 4);
    assert_eq!(begun(Start::Timestamp(MS + 6_500)), 7);
    assert_eq!(begun(Start::Timestamp(MS + 60_000)), 10);
    let text = refused(SourceSettings { start: Start::Offset(11), ..settings(&topic) }, &[]);
    assert!(text.contains("`start` asks for offset 11 and there are 0 to 10"), "{text}");
}

#[test]
fn latest_is_decided_once_however_often_nothing_was_committed() {
    let topic = topic("latest", 3);
    let mut source = opened(SourceSettings { start: Start::Latest, ..settings(&topic) }, &[]);
    write(&topic, 3..6);
    assert_eq!(values(&read(&mut source, 3).unwrap()), texts(3..6));
    source.seek(&[]).unwrap();
    assert_eq!(values(&read(&mut source, 3).unwrap()), texts(3..6), "what was read and not committed comes again");
}

#[test]
fn a_seek_shows_nothing_of_what_was_fetched_before() {
    let topic = topic("seek", 20_000);
    let mut source = opened(settings(&topic), &[]);
    for (read_before, next) in [(5_000, 2_000), (9_000, 0), (100, 12_345), (1, 19_999)] {
        read(&mut source, read_before).unwrap();
        source.seek(&[at(0, next)]).unwrap();
        assert_eq!(source.progress()[0].next, next);
        assert_eq!(values(&read(&mut source, (20_000 - next) as usize).unwrap()), texts(next..20_000));
        source.seek(&[]).unwrap();
    }
}

#[test]
fn positions_carry_what_a_commit_needs_and_bring_a_new_process_to_the_same_place() {
    let topic = topic("positions", 10);
    let mut first = opened(settings(&topic), &[]);
    read(&mut first, 10).unwrap();
    let positions = positions(&first);
    assert_eq!((positions[0].next, positions[0].timestamp_ms_max), (10, Some(MS + 9_000)));
    assert!(positions[0].leader_epoch >= 0);
    write(&topic, 10..15);
    let mut second = opened(settings(&topic), &positions);
    assert_eq!(second.progress()[0].timestamp_ms_max, Some(MS + 9_000));
    assert_eq!(values(&read(&mut second, 5).unwrap()), texts(10..15));
}

#[test]
fn open_and_aborted_transactions_are_not_read_and_not_lag() {
    let topic = topic("isolation", 2);
    let client = kafka().client().unwrap();
    let owner = format!("{topic}-owner");
    client.begin(&owner).unwrap();
    client.produce_in(&owner, &topic, [Record::new("k", "aborted").on(0)]).unwrap();
    client.abort(&owner).unwrap();
    client.begin(&owner).unwrap();
    client.produce_in(&owner, &topic, [Record::new("k", "open").on(0)]).unwrap();
    let mut dirty = opened(SourceSettings { read_uncommitted: true, ..settings(&topic) }, &[]);
    assert_eq!(values(&read(&mut dirty, 4).unwrap()), ["0", "1", "aborted", "open"]);
    let mut clean = opened(settings(&topic), &[]);
    assert_eq!(values(&read(&mut clean, 2).unwrap()), ["0", "1"]);
    assert!(read_for(&mut clean, MOMENT).unwrap().is_empty(), "a transaction is open");
    client.commit(&owner).unwrap();
    assert_eq!(values(&read(&mut clean, 1).unwrap()), ["open"]);
    eventually("no lag", SOON, || {
        assert!(read_for(&mut clean, Duration::from_millis(20))?.is_empty());
        let progress = &clean.progress()[0];
        // Two records, the aborted one and its mark, the third and its mark.
        Ok((progress.next == 6 && progress.end == 6).then_some(()))
    })
    .unwrap();
}

#[test]
fn lost_records_stop_the_source_or_are_named() {
    let topic = topic("loss", 10);
    kafka().client().unwrap().delete_records(&topic, &Positions::from([(0, 6)])).unwrap();
    let text = refused(settings(&topic), &[at(0, 2)]);
    assert!(
        text.contains("offsets 2 to 5 were deleted before they were read (retention); `on_data_loss: earliest`"),
        "{text}"
    );
    let lenient = SourceSettings { on_data_loss: OnDataLoss::Earliest, ..settings(&topic) };
    let mut source = opened(lenient, &[at(0, 2)]);
    assert_eq!(source.take_gaps(), [Gap { source: "in".to_owned(), partition: 0, from: 2, to: 6 }]);
    assert_eq!(values(&read(&mut source, 4).unwrap()), texts(6..10));
    let text = refused(settings(&topic), &[at(0, 11)]);
    assert!(text.contains("was read up to offset 11 and ends at 10 now"), "{text}");
    let text = refused(settings(&topic), &[at(0, 7), at(1, 0)]);
    assert!(text.contains("partition 1 was read and there are 1 now"), "{text}");
}

#[test]
fn records_lost_while_running_stop_the_source_or_are_named() {
    let topic = topic("loss-running", 10);
    let lenient = SourceSettings { on_data_loss: OnDataLoss::Earliest, ..settings(&topic) };
    let mut sources = [opened(settings(&topic), &[]), opened(lenient, &[])];
    for source in &mut sources {
        read(source, 10).unwrap();
    }
    kafka().client().unwrap().delete_records(&topic, &Positions::from([(0, 6)])).unwrap();
    let [strict, lenient] = &mut sources;
    strict.seek(&[at(0, 3)]).unwrap();
    let text = read(strict, 1).unwrap_err().to_string();
    assert!(text.contains("offsets 3 to 5 were deleted"), "{text}");
    lenient.seek(&[at(0, 3)]).unwrap();
    assert_eq!(values(&read(lenient, 4).unwrap()), texts(6..10));
    assert_eq!(lenient.take_gaps(), [Gap { source: "in".to_owned(), partition: 0, from: 3, to: 6 }]);
}

#[test]
fn new_partitions_are_found_and_read_from_their_first_record() {
    let topic = topic("grows", 3);
    let mut source = opened(SourceSettings { start: Start::Latest, ..settings(&topic) }, &[]);
    kafka().client().unwrap().add_partitions(&topic, 3).unwrap();
    let added = [Record::new("k", "a").on(1), Record::new("k", "b").on(2), Record::new("k", "c").on(2)];
    kafka().client().unwrap().produce(&topic, added).unwrap();
    assert_eq!(values(&read(&mut source, 3).unwrap()), ["a", "b", "c"]);
    let known: Vec<_> = source.progress().iter().map(|progress| (progress.partition, progress.next)).collect();
    assert_eq!(known, [(0, 3), (1, 1), (2, 2)]);
    source.seek(&[]).unwrap();
    assert_eq!(values(&read(&mut source, 3).unwrap()), ["a", "b", "c"]);
    // Partitions that were added while nothing ran.
    let mut later = opened(SourceSettings { start: Start::Latest, ..settings(&topic) }, &[at(0, 3)]);
    assert_eq!(values(&read(&mut later, 3).unwrap()), ["a", "b", "c"]);
}

#[test]
fn workers_share_the_partitions_of_a_topic() {
    let topic = kafka().topic("shared", 5).unwrap();
    let records = (0..50).map(|n| Record::new("k", n.to_string()).on(n % 5));
    kafka().client().unwrap().produce(&topic, records).unwrap();
    let mut seen = Vec::new();
    for (worker, count) in [(0, 30), (1, 20)] {
        let mut source = opened(SourceSettings { worker, workers: 2, ..settings(&topic) }, &[]);
        assert!(source.progress().iter().all(|progress| progress.partition as u32 % 2 == worker));
        seen.extend(values(&read(&mut source, count).unwrap()));
    }
    let mut seen: Vec<i32> = seen.iter().map(|text| text.parse().unwrap()).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..50).collect::<Vec<_>>());
}

#[test]
fn a_deleted_topic_and_a_missing_one_are_named() {
    let text = refused(settings("no-such-topic"), &[]);
    assert!(text.contains("topic `no-such-topic`") && text.contains("Unknown topic"), "{text}");
}

#[test]
fn positions_are_mirrored_and_offsets_that_somebody_moved_are_noticed() {
    let topic = topic("mirror", 10);
    let client = kafka().client().unwrap();
    let group = settings(&topic).group;
    let mut source = opened(settings(&topic), &[]);
    read(&mut source, 10).unwrap();
    source.committed(&[at(0, 8)]);
    let mirrored = || Ok((client.group_offsets(&group, &topic)? == Positions::from([(0, 8)])).then_some(()));
    eventually("the mirrored offset", SOON, mirrored).unwrap();
    drop(source);
    // The mirror may be behind; only what a person did stops the pipeline.
    drop(opened(settings(&topic), &[at(0, 9)]));
    client.set_group_offsets(&group, &topic, &Positions::from([(0, 4)])).unwrap();
    let text = refused(settings(&topic), &[at(0, 9)]);
    assert!(text.contains("partition 0 to 4, the pipeline is at 9"), "{text}");
    assert!(
        text.contains("`millstream reset --to-group-offsets`") && text.contains("`run --ignore-group-offsets`"),
        "{text}"
    );
    drop(opened(SourceSettings { ignore_group_offsets: true, ..settings(&topic) }, &[at(0, 9)]));
    // Nothing is committed: offsets of an unrelated past say nothing.
    drop(opened(settings(&topic), &[]));
}
