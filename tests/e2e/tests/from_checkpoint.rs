//! `run --from-checkpoint`, in every combination: under the same id and under a new one, with Kafka and without.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use millstream_e2e::{
    CountJob, CountJobOptions, CrashPoint, Exit, Isolation, Kafka, Millstream, MillstreamOptions, Workplace,
    eventually, plugin,
};

const LONG: Duration = Duration::from_secs(120);
const CONFIG: i32 = 78;

fn keys(count: u32) -> impl Iterator<Item = String> {
    (0..count).map(|n| format!("key-{}", n % 50))
}

fn from(checkpoint: &str) -> MillstreamOptions {
    let more_arguments = vec!["--from-checkpoint".to_owned(), checkpoint.to_owned()];
    MillstreamOptions { more_arguments, ..MillstreamOptions::default() }
}

/// Takes a savepoint of the running pipeline; gives where it is.
fn savepoint(workplace: &Workplace) -> Result<String> {
    let taken = workplace.command(&["savepoint", "pipeline.yaml", "-o", "json"])?.expect_code(0)?;
    let taken: serde_json::Value = serde_json::from_str(&taken.stdout)?;
    let path = taken.get("path").and_then(|path| path.as_str()).context("the savepoint has no path")?;
    // As the running process calls it.
    Ok(workplace.path().join(path).display().to_string())
}

/// A job that has counted 50 keys a hundred times each and taken a savepoint, and runs.
fn running(name: &str) -> Result<(CountJob<'static>, Millstream, String)> {
    let mut job = CountJob::new(Kafka::shared()?, name, &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed(keys(5_000))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    let path = savepoint(&job.workplace)?;
    Ok((job, run, path))
}

/// The pipeline file of a job with another id, another output, and whatever else `change` does to it.
fn successor(job: &CountJob<'_>, change: impl Fn(String) -> String) -> Result<(Workplace, String)> {
    let output = job.kafka.topic("successor-out", 4)?;
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    let yaml = yaml.replace(&format!("id: {}", job.id), &format!("id: {output}")).replace(&job.output, &output);
    Ok((Workplace::with_pipeline(&change(yaml))?, output))
}

#[test]
fn a_new_id_begins_with_the_state_and_positions_of_the_checkpoint() -> Result<()> {
    let (mut job, elder, checkpoint) = running("new-id")?;
    // The elder goes on beside its successor, and what it does from here on is none of that one's business.
    job.feed(keys(100))?;
    let (workplace, output) = successor(&job, |yaml| yaml)?;
    let younger = workplace.start(&from(&checkpoint))?;
    let client = job.client()?;
    let counted = client.consume_at_least(&output, Isolation::Committed, 100, LONG)?;
    let newest = |records: &[millstream_e2e::Record]| {
        let mut newest: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for record in records {
            newest.entry(record.key_text()).or_default().push(record.value_text().parse().unwrap());
        }
        newest.values_mut().for_each(|counts| counts.sort_unstable());
        newest
    };
    let expected = |counts: &[u64]| -> BTreeMap<String, Vec<u64>> {
        (0..50).map(|key| (format!("key-{key}"), counts.to_vec())).collect()
    };
    assert_eq!(newest(&counted), expected(&[101, 102]));
    // State and positions are in its own log: a crash and the loss of its directory change nothing.
    younger.kill()?;
    std::fs::remove_dir_all(workplace.path().join("state"))?;
    let younger = workplace.start(&MillstreamOptions::default())?;
    job.feed(keys(50))?;
    let counted = client.consume_at_least(&output, Isolation::Committed, 150, LONG)?;
    assert_eq!(newest(&counted), expected(&[101, 102, 103]));
    younger.terminate()?;
    younger.wait(LONG)?.expect_code(0)?;
    workplace.command(&["verify", "pipeline.yaml"])?.expect_code(0)?;
    elder.terminate()?;
    elder.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_start_that_was_cut_off_is_made_again_by_the_same_command() -> Result<()> {
    let (mut job, elder, checkpoint) = running("cut-off")?;
    elder.terminate()?;
    elder.wait(LONG)?.expect_code(0)?;
    let (workplace, output) = successor(&job, |yaml| yaml)?;
    // Killed within its first commit, when the whole state is in the changelog.
    let crash = Some(CrashPoint::new("before_end_txn")?);
    let run = workplace.start(&MillstreamOptions { crash, ..from(&checkpoint) })?;
    assert!(run.wait(LONG)?.was_killed(), "{}", run.log_end());
    let run = workplace.start(&from(&checkpoint))?;
    job.feed(keys(50))?;
    let counted = job.client()?.consume_at_least(&output, Isolation::Committed, 50, LONG)?;
    assert!(counted.iter().all(|record| record.value_text() == "101"), "{counted:?}");
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    workplace.command(&["verify", "pipeline.yaml"])?.expect_code(0)?;
    // The history has gone on: the same command is refused and says what to do.
    let refused = workplace.start(&from(&checkpoint))?.wait(LONG)?.expect_code(CONFIG)?;
    assert!(refused.stderr.contains("start without `--from-checkpoint`"), "{}", refused.stderr);
    Ok(())
}

fn refused(workplace: &Workplace, checkpoint: &str, expected: &str) -> Result<Exit> {
    let exit = workplace.start(&from(checkpoint))?.wait(LONG)?.expect_code(CONFIG)?;
    assert!(exit.stderr.contains(expected), "{}", exit.stderr);
    Ok(exit)
}

#[test]
fn positions_of_other_records_begin_nothing() -> Result<()> {
    let (job, elder, checkpoint) = running("other")?;
    elder.terminate()?;
    elder.wait(LONG)?.expect_code(0)?;
    // Another topic under the same source.
    let another = job.kafka.topic("another-in", 4)?;
    let (workplace, output) = successor(&job, |yaml| yaml.replace(&job.input, &another))?;
    refused(&workplace, &checkpoint, &format!("read `{}` and is to read `{another}` now", job.input))?;
    // The same topic, made anew.
    job.client()?.delete_topic(&job.input)?;
    job.client()?.create_topic(&job.input, 4, &[])?;
    let (workplace, _) = successor(&job, |yaml| yaml)?;
    refused(&workplace, &checkpoint, "which was deleted and created again")?;
    // Nothing was written anywhere, and the advice helps.
    assert_eq!(job.client()?.consume_all(&output, Isolation::Uncommitted)?.len(), 0);
    let yaml = std::fs::read_to_string(workplace.path().join("pipeline.yaml"))?;
    workplace.write("pipeline.yaml", yaml.replace("  in:", "  anew:").replace("inputs: [in]", "inputs: [anew]"))?;
    let run = workplace.start(&from(&checkpoint))?;
    run.wait_for_log("state of the checkpoint written to the changelog", LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    Ok(())
}

/// Whether the restore of a run had a base.
fn had_base(run: &Millstream) -> Result<bool> {
    eventually("the restore", LONG, || {
        let events = run.log_events();
        Ok(events.iter().find_map(|event| event.pointer("/fields/base")?.as_bool()))
    })
}

#[test]
fn removals_that_the_changelog_has_forgotten_make_a_checkpoint_no_base() -> Result<()> {
    for (kept_ms, is_base) in [("86400000", true), ("1000", false)] {
        let (mut job, run, checkpoint) = running("retention")?;
        let kept = job.workplace.path().join("kept");
        copy(Path::new(&checkpoint).parent().unwrap(), &kept)?;
        let checkpoint = kept.join(Path::new(&checkpoint).file_name().unwrap());
        let mut counts = job.counts()?;
        job.feed(keys(1_000))?;
        job.settle(&mut counts, &run, LONG)?;
        run.kill()?;
        let changelog = format!("{}.changelog.0", job.id);
        job.client()?.alter_topic(&changelog, &[("delete.retention.ms", kept_ms)])?;
        std::fs::remove_dir_all(job.workplace.path().join("state"))?;
        std::thread::sleep(Duration::from_secs(1));
        let run = job.start_with(&from(&checkpoint.display().to_string()))?;
        assert_eq!(had_base(&run)?, is_base, "delete.retention.ms={kept_ms}");
        job.probe_state(&mut counts, &run, LONG)?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Files to a file, with no Kafka at all; ends by itself where the input is not followed.
fn files(id: &str, follow: bool) -> Result<Workplace> {
    let workplace = Workplace::with_pipeline(&format!(
        "id: {id}\n\
         sources:\n  in: {{ file: ./in.jsonl, format: json_lines, key: /key, follow: {follow} }}\n\
         operators:\n  count: {{ module: {}, inputs: [in], key_by: key }}\n\
         sinks:\n  out: {{ file: ./out.jsonl, format: json_lines, inputs: [count] }}\n\
         checkpoint: {{ dir: ./checkpoints }}\n\
         commit: {{ interval: 50ms }}\n",
        plugin("count").canonicalize()?.display(),
    ))?;
    workplace.write("in.jsonl", lines(100))?;
    Ok(workplace)
}

fn lines(count: u32) -> String {
    keys(count).map(|key| format!("{{\"key\":\"{key}\"}}\n")).collect()
}

/// As a writer of a followed file does it.
fn append(workplace: &Workplace, text: &str) -> Result<()> {
    let mut file = std::fs::File::options().append(true).open(workplace.path().join("in.jsonl"))?;
    Ok(file.write_all(text.as_bytes())?)
}

/// Lines without their timestamps: these are of the file as it was when it was opened.
fn written_to(workplace: &Workplace, file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(workplace.path().join(file)).unwrap_or_default();
    text.lines().map(|line| line.split(",\"timestamp\"").next().unwrap_or_default().to_owned()).collect()
}

fn written(workplace: &Workplace) -> Vec<String> {
    written_to(workplace, "out.jsonl")
}

#[test]
fn without_kafka_the_same_id_goes_on_from_the_checkpoint_and_its_files_do_too() -> Result<()> {
    let workplace = files("files", true)?;
    let run = workplace.start(&MillstreamOptions::default())?;
    eventually("the first counts", LONG, || Ok((written(&workplace).len() == 100).then_some(())))?;
    let checkpoint = savepoint(&workplace)?;
    assert!(checkpoint.contains("/checkpoints/files/"), "{checkpoint}");
    append(&workplace, &lines(100))?;
    eventually("more counts", LONG, || Ok((written(&workplace).len() == 200).then_some(())))?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    let before = written(&workplace);
    std::fs::remove_dir_all(workplace.path().join("state"))?;
    // What was written behind the checkpoint is cut off and made again, not repeated.
    let run = workplace.start(&from(&checkpoint))?;
    append(&workplace, &lines(50))?;
    eventually("the rest", LONG, || Ok((written(&workplace).len() >= 250).then_some(())))?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    let after = written(&workplace);
    assert_eq!((after.len(), after.get(..200)), (250, before.get(..200)));
    assert!(after.get(200..).unwrap().iter().all(|line| line.contains("\"value\":\"5\"")), "{after:?}");
    workplace.command(&["verify", "pipeline.yaml"])?.expect_code(0)?;
    Ok(())
}

#[test]
fn without_kafka_a_new_id_needs_files_of_its_own() -> Result<()> {
    let workplace = files("elder", true)?;
    let run = workplace.start(&MillstreamOptions::default())?;
    eventually("the counts", LONG, || Ok((written(&workplace).len() == 100).then_some(())))?;
    let checkpoint = savepoint(&workplace)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    let before = written(&workplace);
    let mut options = from(&checkpoint);
    options.more_arguments.extend(["--id".to_owned(), "younger".to_owned()]);
    let refused = workplace.start(&options)?.wait(LONG)?;
    assert_ne!(refused.code, Some(0), "{}", refused.stderr);
    assert!(refused.stderr.contains("out.jsonl") && refused.stderr.contains("no commit"), "{}", refused.stderr);
    assert_eq!(written(&workplace), before);
    // With a file of its own it begins where the checkpoint is.
    let yaml = std::fs::read_to_string(workplace.path().join("pipeline.yaml"))?;
    workplace.write("pipeline.yaml", yaml.replace("./out.jsonl", "./younger.jsonl"))?;
    append(&workplace, &lines(50))?;
    let run = workplace.start(&options)?;
    let younger = || written_to(&workplace, "younger.jsonl");
    eventually("the counts of the younger", LONG, || Ok((younger().len() == 50).then_some(())))?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    assert!(younger().iter().all(|line| line.contains("\"value\":\"3\"")), "{:?}", younger());
    Ok(())
}
