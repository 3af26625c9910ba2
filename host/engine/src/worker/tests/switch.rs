//! Switches and trials, as seen from the committer.

use super::*;
use crate::fakes::FakeOperator;
use crate::swap::Tally;

/// Forwards records, their value with `tag` behind; traps on a value.
fn version(tag: &'static str, trap: &'static str) -> Arc<dyn OperatorFactory> {
    let descriptor = Descriptor { outputs: vec!["out".to_owned()], ..Descriptor::default() };
    Arc::new(FakeOperator::new(descriptor, move |call| {
        let parents: Vec<u32> = (0..call.batch.len() as u32).collect();
        let values: Vec<Vec<u8>> =
            call.batch.values.iter().map(|value| [value.unwrap(), tag.as_bytes()].concat()).collect();
        let values: millstream_model::column::BytesColumn = values.iter().map(|value| Some(value.as_slice())).collect();
        let values = millstream_model::column_ref::ColumnRef {
            ends: values.ends(),
            bytes: values.bytes(),
            absent: values.absent(),
        };
        let columns = OutputColumns {
            port: 0,
            parents: &parents,
            keys: None,
            values: Some(values),
            timestamps_ms: None,
            headers: None,
        };
        call.emit(columns)?;
        trap_on(call, trap)
    }))
}

impl Crew {
    fn next(&self, factory: &Arc<dyn OperatorFactory>, at: usize) -> Arc<Lineup> {
        let mut operators = self.lineup.operators.clone();
        operators[at] = Arc::new(parts(&self.shared, &self.lineup.plan.operators[at], factory));
        let plan = Arc::clone(&self.lineup.plan);
        Arc::new(Lineup { plan, operators, older_versions: Default::default() })
    }

    fn switch(&self, at: usize, factory: &Arc<dyn OperatorFactory>, keeps_cache: bool) -> Switch {
        let instances = self.commands.iter().map(|_| factory.instantiate().unwrap()).collect();
        Switch::new(self.next(factory, at), at, keeps_cache, instances)
    }

    /// Cuts with a switch; the reports of the epoch that ends, and those that came from the one behind.
    fn cut_with(&self, switch: Switch) -> (Vec<Report>, Vec<Report>) {
        self.tell(&Command::Cut { last: false, switch: Some(Arc::new(switch)) });
        let (mut reports, mut behind, mut given) = (Vec::new(), Vec::new(), vec![false; self.commands.len()]);
        while given.contains(&false) {
            let report = self.reports.recv().unwrap();
            match &report {
                Report::Part(part) => given[part.worker] = true,
                Report::Output { worker, .. } if given[*worker] => {
                    behind.push(report);
                    continue;
                }
                Report::Failed(error) => panic!("{error}"),
                _ => {}
            }
            reports.push(report);
        }
        (reports, behind)
    }

    fn wait_for(&self, is_it: fn(&Report) -> bool) -> (Vec<Report>, Report) {
        let mut before = Vec::new();
        loop {
            let report = self.reports.recv().unwrap();
            if let Report::Failed(error) = &report {
                panic!("{error}");
            }
            if is_it(&report) {
                return (before, report);
            }
            before.push(report);
        }
    }
}

/// Values of outputs, and how many of them carry each tag.
fn tags(reports: &[Report]) -> (usize, usize) {
    let mut tags = (0, 0);
    for report in reports {
        let Report::Output { sink: OUT, batch, .. } = report else { continue };
        for value in batch.values.iter() {
            if value.unwrap().ends_with(b"b") { tags.1 += 1 } else { tags.0 += 1 }
        }
    }
    tags
}

/// A plan of one operator behind the source, and one behind an exchange.
fn two_stages(workers: u32) -> Arc<Plan> {
    let second = Target::Operator { operator: OperatorIndex(1), input: 0 };
    plan(vec![node(false, 0, second), node(true, 1, Target::Sink(OUT))], workers)
}

#[test]
fn no_epoch_has_records_of_two_versions_wherever_the_operator_is() {
    for (at, keeps_cache) in [(0, true), (0, false), (1, true), (1, false)] {
        let (old, new) = (version("a", "-"), version("b", "-"));
        let neutral = version("", "-");
        let crew = start_with(&two_stages(3), (5_000, 7), INBOX_BYTES_MAX, &neutral);
        // What is told apart is the operator at `at`: the other one stays neutral.
        let (_, _) = crew.cut_with(crew.switch(at, &old, true));
        crew.tell(&Command::Applied(None));
        let (before, mut behind) = crew.cut_with(crew.switch(at, &new, keeps_cache));
        assert_eq!(tags(&before).1, 0, "the new version in an epoch of the old one: {at}, {keeps_cache}");
        if !keeps_cache {
            assert!(behind.is_empty(), "nothing is processed before the epoch is in the store");
        }
        crew.tell(&Command::Applied(None));
        crew.tell(&Command::Cut { last: false, switch: None });
        let mut given = 0;
        while given < 3 {
            let report = crew.reports.recv().unwrap();
            given += usize::from(matches!(report, Report::Part(_)));
            behind.push(report);
        }
        assert_eq!(tags(&behind).0, 0, "the old version in an epoch of the new one: {at}, {keeps_cache}");
        crew.stop();
    }
}

#[test]
fn a_trial_stops_at_its_quota_and_stands_until_it_is_judged() {
    let (old, new) = (version("a", "-"), version("b", "-"));
    let crew = start_with(&plan(vec![node(false, 0, Target::Sink(OUT))], 2), (1_000_000, 64), INBOX_BYTES_MAX, &old);
    let quota = Arc::new(Quota::new(1_000));
    let (_, mut behind) = crew.cut_with(crew.switch(0, &new, true).on_trial(&quota));
    crew.tell(&Command::Applied(None));
    let (before, _) = crew.wait_for(|report| matches!(report, Report::TrialFull));
    behind.extend(before);
    crew.tell(&Command::Cut { last: false, switch: None });
    let mut tally = Tally::default();
    for _ in 0..2 {
        let (before, part) = crew.wait_for(|report| matches!(report, Report::Part(_)));
        behind.extend(before);
        if let Report::Part(part) = part {
            tally.add(&part.tallies[0]);
        }
    }
    // Each worker may have had a batch in hand when the other one came to the end of the quota.
    assert!((1_000..1_000 + 2 * 64).contains(&tally.records), "{tally:?}");
    assert_eq!((tally.emitted, tags(&behind)), (tally.records, (0, tally.records as usize)));
    assert_eq!(quota.given(), tally.records);
    // Nothing comes from workers that stand: they answer only what everybody must.
    crew.tell(&Command::Hold);
    for _ in 0..2 {
        assert!(matches!(crew.reports.recv().unwrap(), Report::Held | Report::TrialFull));
    }
    crew.tell(&Command::Resume);
    crew.tell(&Command::Proceed);
    crew.wait_for(|report| matches!(report, Report::Output { .. }));
    crew.stop();
}

#[test]
fn a_trial_fails_on_the_very_record_and_the_version_before_goes_on_with_it() {
    let (old, new) = (version("a", "-"), version("b", "321"));
    let crew = start_with(&plan(vec![node(false, 0, Target::Sink(OUT))], 1), (400, 64), INBOX_BYTES_MAX, &old);
    crew.tell(&Command::Hold);
    crew.wait_for(|report| matches!(report, Report::Held));
    crew.reset();
    crew.tell(&Command::Cut {
        last: false,
        switch: Some(Arc::new(crew.switch(0, &new, true).on_trial(&Arc::new(Quota::new(1_000))))),
    });
    crew.tell(&Command::Resume);
    let (before, failed) = crew.wait_for(|report| matches!(report, Report::TrialFailed(_)));
    let Report::TrialFailed(fault) = failed else { panic!("{failed:?}") };
    assert_eq!(
        fault.failure.to_string(),
        "trapped: unreachable (at source `numbers`, partition 0, offset 321)".to_owned()
    );
    assert!(before.iter().any(|report| matches!(report, Report::Part(_))), "the epoch before was cut");
    let origin = fault.origin.unwrap();
    // Back with an eye on the record, which this time is fine.
    crew.tell(&Command::Hold);
    crew.wait_for(|report| matches!(report, Report::Held));
    let watch = Some(Watch { operator: 0, origin });
    let reset = Reset { committed: None, lineup: Arc::clone(&crew.lineup), watch };
    crew.tell(&Command::Reset(Arc::new(reset)));
    crew.tell(&Command::Resume);
    crew.wait_for(|report| matches!(report, Report::Ready));
    crew.wait_for_end();
    let epoch = crew.cut(true);
    assert_eq!(epoch.out.len(), 400);
    assert!(epoch.out.iter().all(|(_, value)| value.ends_with('a')), "an instance of the new version stayed");
    assert!(!epoch.parts[0].has_failed_again && epoch.letters.is_empty());
    crew.stop();
}

#[test]
fn the_version_before_tells_if_it_fails_on_the_record_as_well() {
    let old = version("a", "7");
    let crew = start_with(&plan(vec![node(false, 0, Target::Sink(OUT))], 1), (20, 20), INBOX_BYTES_MAX, &old);
    let origin = Origin { partition: PartitionIndex(0), offset: 7 };
    // The second time it is remembered, not searched for.
    for _ in 0..2 {
        crew.tell(&Command::Hold);
        crew.wait_for(|report| matches!(report, Report::Held));
        let watch = Some(Watch { operator: 0, origin });
        let reset = Reset { committed: None, lineup: Arc::clone(&crew.lineup), watch };
        crew.tell(&Command::Reset(Arc::new(reset)));
        crew.tell(&Command::Resume);
        crew.wait_for(|report| matches!(report, Report::Ready));
        crew.wait_for_end();
        let epoch = crew.cut(false);
        assert!(epoch.parts[0].has_failed_again);
        assert_eq!(epoch.parts[0].tallies, [Tally { records: 20, emitted: 19, rejected: 0, failed: 1 }]);
    }
    crew.stop();
}

#[test]
fn what_would_stop_the_pipeline_ends_a_trial_instead() {
    let new: Arc<dyn OperatorFactory> = Arc::new(Forward(|_| Err(CallError::Stop("enough".to_owned()))));
    let crew = start(&plan(vec![node(false, 0, Target::Sink(OUT))], 1), 1_000_000, 10, |_| Ok(()));
    let switch = crew.switch(0, &new, true).on_trial(&Arc::new(Quota::new(5)));
    crew.tell(&Command::Cut { last: false, switch: Some(Arc::new(switch)) });
    let (_, failed) = crew.wait_for(|report| matches!(report, Report::TrialFailed(_)));
    let Report::TrialFailed(fault) = failed else { panic!("{failed:?}") };
    assert_eq!(fault.failure.reason, "enough");
    crew.stop();
}
