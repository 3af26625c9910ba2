use crate::cli::{Format, Test};
use crate::compose::{self, Loaded};
use crate::config::{PipelineFile, Place, Problem, Resolved, nearest, raw};
use crate::error::{Failure, Outcome};
use crate::in_memory::{List, ListSink, ListSource, Pair};
use millstream_engine::commit::{CommitPorts, CommitterSettings, Identity, SinkPort};
use millstream_engine::ports::{Clock, RecordSizes, Source, StateBackend, SystemClock};
use millstream_engine::run::{self, Board, Control, RunPorts};
use millstream_model::commit::TopicIdentity;
use millstream_model::ids::{Lineage, PartitionIndex};
use millstream_state::{CheckpointSettings, CheckpointStore, RocksCheckpoints, RocksStore};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Memory for the state of a test, in bytes.
const MEMORY_BYTES: u64 = 32 << 20;

/// Records shown of a list that is not as expected.
const SHOWN_MAX: usize = 20;

/// How a test went.
#[derive(Debug, Serialize)]
struct Verdict {
    name: String,
    passed: bool,
    /// What is not as expected.
    problems: Vec<String>,
}

/// `millstream test`: runs the tests of a pipeline file through its modules and the engine, without Kafka and without its files.
pub(crate) fn test(arguments: &Test) -> Outcome<()> {
    let file = PipelineFile::read(&arguments.pipeline.file)?;
    let mut resolved = file.resolve()?;
    // One worker makes the order of outputs certain.
    resolved.workers = 1;
    let problem = |problem| Failure::config(file.show(&problem));
    if file.tests().is_empty() {
        let text = "there is nothing under `tests:` to run; docs/pipeline-file.md shows how to write one";
        return Err(problem(Problem::new(&Place::at("tests"), text)));
    }
    file.tests().iter().enumerate().try_for_each(|(at, test)| check(test, at, &resolved).map_err(problem))?;
    let loaded = compose::load(&file, &resolved)?;
    let mut verdicts = Vec::new();
    for test in file.tests() {
        let is_chosen = arguments.only.as_ref().is_none_or(|only| test.name.contains(only.as_str()));
        if is_chosen {
            verdicts.push(judge(test, &resolved, &loaded)?);
        }
    }
    show(&verdicts, arguments.output)?;
    let failed = verdicts.iter().filter(|verdict| !verdict.passed).count();
    match (failed, verdicts.len()) {
        (0, 0) => {
            Err(Failure::config(format!("no test has `{}` in its name", arguments.only.as_deref().unwrap_or_default())))
        }
        (0, _) => Ok(()),
        (failed, all) => Err(Failure::failed(format!("{failed} of {all} tests failed"))),
    }
}

/// Refuses what names no source or sink.
fn check(test: &raw::Test, at: usize, resolved: &Resolved) -> Result<(), Problem> {
    let sources: Vec<&str> = resolved.sources.iter().map(|source| source.id.as_str()).collect();
    let sinks: Vec<&str> = resolved.sinks.iter().map(|sink| sink.id.as_str()).collect();
    let place = Place::at("tests").item(at);
    let named = test.inputs.keys().map(|id| (id, "source", &sources, place.field("inputs")));
    for (id, kind, known, place) in
        named.chain(test.outputs.keys().map(|id| (id, "sink", &sinks, place.field("outputs"))))
    {
        if !known.contains(&id.as_str()) {
            let hint = nearest(id, known.iter().copied()).map(|name| format!("; did you mean `{name}`?"));
            let text =
                format!("test `{}` names {kind} `{id}`, and there is none{}", test.name, hint.unwrap_or_default());
            return Err(Problem::new(&place.field(id), text));
        }
    }
    Ok(())
}

fn judge(test: &raw::Test, resolved: &Resolved, loaded: &Loaded) -> Outcome<Verdict> {
    let directory = tempfile::tempdir().map_err(Failure::failed)?;
    let lists: BTreeMap<String, List> = resolved.sinks.iter().map(|sink| (sink.id.clone(), List::default())).collect();
    let ports = ports(test, resolved, loaded, &lists, directory.path())?;
    let plan = Arc::new(loaded.plan.clone());
    let control = Control::new(Board::new(&plan));
    let settings = CommitterSettings::default();
    let mut problems = Vec::new();
    if let Err(error) = run::run(plan, ports, identity(resolved, loaded), settings, &control) {
        problems.push(error.to_string());
    }
    for (id, expected) in &test.outputs {
        let taken = lists.get(id).map(List::taken).unwrap_or_default();
        let expected: Vec<Pair> = expected.iter().map(pair).collect();
        problems.extend(compare(id, &expected, &taken));
    }
    Ok(Verdict { name: test.name.clone(), passed: problems.is_empty(), problems })
}

fn ports(
    test: &raw::Test,
    resolved: &Resolved,
    loaded: &Loaded,
    lists: &BTreeMap<String, List>,
    directory: &Path,
) -> Outcome<RunPorts> {
    let store = Arc::new(RocksStore::open(&directory.join("db"), MEMORY_BYTES).map_err(Failure::failed)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let place = CheckpointStore::in_directory(&directory.join("checkpoints")).map_err(Failure::failed)?;
    let checkpoints =
        CheckpointSettings { pipeline: resolved.id.clone(), staging: directory.join("staging"), retained: 1 };
    let source = |(at, id): (u32, &String)| -> Box<dyn Source> {
        let input = |record: &raw::TestRecord| (pair(record), record.timestamp);
        let records = test.inputs.get(id).map(|records| records.iter().map(input).collect()).unwrap_or_default();
        Box::new(ListSource::new(PartitionIndex(at << 16), records))
    };
    let sink = |id: &String| SinkPort::Local(Box::new(ListSink(lists.get(id).cloned().unwrap_or_default())));
    Ok(RunPorts {
        operators: loaded.operators.clone(),
        sources: vec![(0..).zip(resolved.sources.iter().map(|source| &source.id)).map(source).collect()],
        commit: CommitPorts {
            log: None,
            state: Arc::clone(&store) as Arc<dyn StateBackend>,
            sinks: resolved.sinks.iter().map(|spec| sink(&spec.id)).collect(),
            clock: Arc::clone(&clock),
        },
        checkpoints: Box::new(RocksCheckpoints::new(store, place, checkpoints)),
        clock,
        event_times: compose::event_times(resolved),
        sizes: Arc::new(RecordSizes::any(resolved.sinks.len())),
        commits: None,
    })
}

fn identity(resolved: &Resolved, loaded: &Loaded) -> Identity {
    let topic = |id: &String| TopicIdentity { name: id.clone(), id: String::new(), partitions: 1 };
    Identity {
        id: resolved.id.clone(),
        host: String::new(),
        pid: std::process::id(),
        cluster_id: String::new(),
        topics: resolved.sources.iter().map(|source| (source.id.clone(), topic(&source.id))).collect(),
        changelog: 0,
        digests: loaded.plan.operators.iter().map(|node| (node.id.clone(), node.digest)).collect(),
        planned_after: None,
        operators: compose::states(&loaded.plan),
        sink_ids: resolved.sinks.iter().map(|sink| sink.id.clone()).collect(),
        sink_ends: BTreeMap::new(),
        fresh_lineage: Lineage::default(),
    }
}

fn pair(record: &raw::TestRecord) -> Pair {
    let bytes = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
    (bytes(&record.key), bytes(&record.value))
}

/// What differs, for people; `None` if nothing does.
fn compare(id: &str, expected: &[Pair], taken: &[Pair]) -> Option<String> {
    if expected == taken {
        return None;
    }
    let (mut one, mut other) = (expected.to_vec(), taken.to_vec());
    one.sort();
    other.sort();
    let what = if one == other { " in another order" } else { "" };
    let at = expected.iter().zip(taken).take_while(|(one, other)| one == other).count();
    Some(format!(
        "sink `{id}` has {} record(s){what}, expected are {}; the first that differs is number {}\n  expected: {}\n  was:      {}",
        taken.len(),
        expected.len(),
        at + 1,
        list(expected, at),
        list(taken, at)
    ))
}

fn list(pairs: &[Pair], from: usize) -> String {
    let text = |bytes: &Option<Vec<u8>>| match bytes {
        None => "null".to_owned(),
        Some(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
    };
    let shown: Vec<_> =
        pairs.iter().skip(from).take(SHOWN_MAX).map(|(key, value)| format!("{}: {}", text(key), text(value))).collect();
    match shown.as_slice() {
        [] => "(no more)".to_owned(),
        shown if pairs.len() > from + SHOWN_MAX => format!("{}, …", shown.join(", ")),
        shown => shown.join(", "),
    }
}

fn show(verdicts: &[Verdict], format: Format) -> Outcome<()> {
    if format == Format::Json {
        return super::print_json(&verdicts);
    }
    for verdict in verdicts {
        anstream::println!("{} {}", if verdict.passed { "pass" } else { "FAIL" }, verdict.name);
        for problem in &verdict.problems {
            anstream::println!("  {}", problem.replace('\n', "\n  "));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<Pair> {
        pairs.iter().map(|(key, value)| (Some(key.as_bytes().to_vec()), Some(value.as_bytes().to_vec()))).collect()
    }

    #[test]
    fn what_differs_is_shown_from_the_first_difference_on() {
        let expected = pairs(&[("a", "1"), ("b", "1"), ("a", "2")]);
        assert_eq!(compare("out", &expected, &expected), None);
        let text = compare("out", &expected, &pairs(&[("a", "1"), ("b", "2")])).unwrap_or_default();
        assert_eq!(
            text,
            "sink `out` has 2 record(s), expected are 3; the first that differs is number 2\n  expected: \"b\": \"1\", \"a\": \"2\"\n  was:      \"b\": \"2\""
        );
        let swapped = compare("out", &expected, &pairs(&[("b", "1"), ("a", "1"), ("a", "2")])).unwrap_or_default();
        assert!(swapped.contains("3 record(s) in another order"), "{swapped}");
    }
}
