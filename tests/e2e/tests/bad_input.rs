//! Whatever is wrong is said once, clearly, with what to do about it; and nothing is lost.
//!
//! The texts are in `tests/bad_input`; `MILLSTREAM_BLESS=1` writes them anew.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use millstream_e2e::{
    Commits, CountJob, CountJobOptions, Exit, Isolation, Kafka, MillstreamOptions, Texts, Workplace, eventually, guest,
    plugin,
};

const LONG: Duration = Duration::from_secs(120);
const CONFIG: i32 = 78;

fn texts(workplace: &Workplace) -> Result<Texts> {
    let path = |path: PathBuf| -> Result<String> { Ok(path.canonicalize()?.display().to_string()) };
    let texts = Texts::new("bad_input")
        .naming("dir", workplace.path().display().to_string())
        .naming("broker", Kafka::shared()?.bootstrap())
        .naming("count.wasm", path(plugin("count"))?)
        .naming("wrong-world.wasm", path(guest("wrong-world"))?);
    Ok(texts)
}

fn texts_of(job: &CountJob<'_>) -> Result<Texts> {
    Ok(texts(&job.workplace)?.naming("id", &job.id).naming("input", &job.input).naming("output", &job.output))
}

/// A pipeline file that is fine but for what `change` does to it; gives the workplace and what `validate` and `run` say.
fn changed(change: impl Fn(String) -> String) -> Result<(Workplace, Exit, Exit)> {
    let kafka = Kafka::shared()?;
    let job = CountJob::new(kafka, "bad", &CountJobOptions::default())?;
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    // The names are part of the snippets, so they are the same every time.
    let yaml = yaml.replace(&job.id, "bad").replace(&job.input, "lines").replace(&job.output, "counts");
    let workplace = Workplace::with_pipeline(&change(yaml))?;
    let validated = workplace.command(&["validate", "pipeline.yaml"])?;
    let ran = workplace.command(&["run", "pipeline.yaml"])?;
    Ok((workplace, validated, ran))
}

#[test]
fn a_pipeline_file_that_is_no_yaml() -> Result<()> {
    let (workplace, validated, ran) = changed(|yaml| yaml.replace("sinks:", "sinks"))?;
    assert_eq!((validated.code, ran.code), (Some(CONFIG), Some(CONFIG)), "{}", ran.stderr);
    texts(&workplace)?.check("broken_yaml", &ran.stderr)
}

#[test]
fn a_field_that_does_not_exist() -> Result<()> {
    let (workplace, validated, ran) = changed(|yaml| yaml.replace("key_by:", "keyby:"))?;
    assert_eq!((validated.code, ran.code), (Some(CONFIG), Some(CONFIG)), "{}", ran.stderr);
    assert!(ran.stderr.contains("key_by"), "no suggestion: {}", ran.stderr);
    texts(&workplace)?.check("unknown_field", &ran.stderr)
}

#[test]
fn an_input_that_does_not_exist() -> Result<()> {
    let (workplace, _, ran) = changed(|yaml| yaml.replace("inputs: [count]", "inputs: [cuont]"))?;
    assert_eq!(ran.code, Some(CONFIG), "{}", ran.stderr);
    texts(&workplace)?.check("unknown_input", &ran.stderr)
}

#[test]
fn a_topic_that_does_not_exist() -> Result<()> {
    // Like no other test's, or one of those would be suggested.
    let (workplace, _, ran) = changed(|yaml| yaml.replace("lines", "0-0-0"))?;
    assert_eq!(ran.code, Some(CONFIG), "{}", ran.stderr);
    texts(&workplace)?.check("missing_topic", &ran.stderr)
}

/// The same with another module.
fn with_module(file: &str, bytes: &[u8]) -> Result<(Workplace, Exit)> {
    let (workplace, _, _) = changed(|yaml| {
        let module = plugin("count").canonicalize().unwrap().display().to_string();
        yaml.replace(&module, file)
    })?;
    if !bytes.is_empty() {
        workplace.write(file, bytes)?;
    }
    let exit = workplace.command(&["run", "pipeline.yaml"])?;
    Ok((workplace, exit))
}

#[test]
fn a_module_that_is_not_there() -> Result<()> {
    let (workplace, exit) = with_module("cuont.wasm", &[])?;
    assert_eq!(exit.code, Some(CONFIG), "{}", exit.stderr);
    texts(&workplace)?.check("missing_module", &exit.stderr)
}

#[test]
fn a_module_that_is_no_wasm() -> Result<()> {
    let (workplace, exit) = with_module("text.wasm", b"this is a text, not a module")?;
    assert_eq!(exit.code, Some(CONFIG), "{}", exit.stderr);
    texts(&workplace)?.check("wrong_module", &exit.stderr)
}

#[test]
fn a_module_for_another_world() -> Result<()> {
    let module = guest("wrong-world").canonicalize()?.display().to_string();
    let (workplace, exit) = with_module(&module, &[])?;
    assert_eq!(exit.code, Some(CONFIG), "{}", exit.stderr);
    texts(&workplace)?.check("other_world", &exit.stderr)
}

/// What wasmtime makes of the plugin `count`, as the cache of the host has it behind a header of its own.
fn native_code() -> Result<Vec<u8>> {
    let workplace = Workplace::new()?;
    let home = workplace.path().join("home");
    let options = MillstreamOptions {
        arguments: Some(vec!["inspect".to_owned(), plugin("count").display().to_string()]),
        environment: vec![("XDG_CACHE_HOME".to_owned(), home.display().to_string())],
        ..MillstreamOptions::default()
    };
    workplace.start(&options)?.wait(LONG)?.expect_code(0)?;
    let mut entries = std::fs::read_dir(home.join("millstream/modules"))?;
    let entry = std::fs::read(entries.next().context("nothing was cached")??.path())?;
    let begin = entry.windows(4).position(|window| window == b"\x7fELF").context("no ELF file in the cache")?;
    Ok(entry.get(begin..).unwrap_or_default().to_vec())
}

#[test]
fn a_module_that_somebody_compiled_to_native_code() -> Result<()> {
    let code = native_code()?;
    assert!(code.len() > 10_000, "{} bytes are no operator", code.len());
    let (workplace, exit) = with_module("count.cwasm", &code)?;
    assert_eq!(exit.code, Some(CONFIG), "{}", exit.stderr);
    texts(&workplace)?.check("cwasm", &exit.stderr)
}

/// A job that has committed and stopped, and can go on.
fn stopped(name: &str) -> Result<CountJob<'static>> {
    let mut job = CountJob::new(Kafka::shared()?, name, &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed((0..2_000).map(|n| format!("key-{}", n % 100)))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    drop(run);
    Ok(job)
}

#[track_caller]
fn refused(job: &CountJob<'_>, text: &str) -> Result<()> {
    let exit = job.start()?.wait(LONG)?;
    assert!(matches!(exit.code, Some(1 | CONFIG)), "{:?} {}", exit.code, exit.stderr);
    texts_of(job)?.check(text, &exit.stderr)
}

/// What was refused has cost nothing: the pipeline goes on where it was.
fn goes_on(mut job: CountJob<'_>, options: &MillstreamOptions) -> Result<()> {
    let mut counts = job.counts()?;
    let run = job.start_with(options)?;
    job.probe_state(&mut counts, &run, LONG)
}

fn argument(argument: &str) -> MillstreamOptions {
    MillstreamOptions { more_arguments: vec![argument.to_owned()], ..MillstreamOptions::default() }
}

#[test]
fn a_state_directory_of_another_id() -> Result<()> {
    let job = stopped("another-id")?;
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    job.workplace.write("pipeline.yaml", yaml.replace(&format!("id: {}", job.id), "id: somebody-else"))?;
    refused(&job, "changed_id")?;
    job.workplace.write("pipeline.yaml", yaml)?;
    goes_on(job, &MillstreamOptions::default())
}

/// After a reset each key is counted from 1 again; before it each of the hundred keys was once.
fn goes_on_after_reset(job: &mut CountJob<'_>) -> Result<()> {
    job.workplace.command(&["reset", "pipeline.yaml", "--yes", &job.id])?.expect_code(0)?;
    job.feed((0..100).map(|n| format!("key-{n}")))?;
    let run = job.start()?;
    eventually("each key to be counted anew", LONG, || {
        anyhow::ensure!(run.exited()?.is_none(), "{}", run.log_end());
        let output = job.client()?.consume_all(&job.output, Isolation::Committed)?;
        Ok((output.iter().filter(|record| record.value_text() == "1").count() == 200).then_some(()))
    })?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}

#[test]
fn a_topic_that_was_made_anew() -> Result<()> {
    let mut job = stopped("anew")?;
    let id = |job: &CountJob<'_>| -> Result<String> { Ok(job.client()?.describe_topic(&job.input)?.id) };
    let elder = id(&job)?;
    job.client()?.delete_topic(&job.input)?;
    job.client()?.create_topic(&job.input, 4, &[])?;
    let exit = job.start()?.wait(LONG)?.expect_code(CONFIG)?;
    texts_of(&job)?.naming("elder", elder).naming("younger", id(&job)?).check("recreated_topic", &exit.stderr)?;
    goes_on_after_reset(&mut job)
}

#[test]
fn group_offsets_that_somebody_moved() -> Result<()> {
    let job = stopped("moved")?;
    let moved: BTreeMap<i32, i64> = (0..4).map(|partition| (partition, 1)).collect();
    job.client()?.set_group_offsets(&job.id, &job.input, &moved)?;
    refused(&job, "moved_group_offsets")?;
    goes_on(job, &argument("--ignore-group-offsets"))
}

/// A stopped job of whose input the broker has deleted what was not read yet.
fn overtaken(name: &str) -> Result<CountJob<'static>> {
    let mut job = stopped(name)?;
    job.feed((0..2_000).map(|n| format!("key-{}", n % 100)))?;
    let ends = job.client()?.offsets(&job.input, Isolation::Uncommitted)?.last;
    job.client()?.delete_records(&job.input, &ends)?;
    Ok(job)
}

#[test]
fn records_that_retention_took_before_they_were_read() -> Result<()> {
    let mut job = overtaken("retention")?;
    let ends = job.client()?.offsets(&job.input, Isolation::Uncommitted)?.last;
    let exit = job.start()?.wait(LONG)?;
    assert!(matches!(exit.code, Some(1 | CONFIG)), "{:?} {}", exit.code, exit.stderr);
    let mut texts = texts_of(&job)?;
    for end in ends.values() {
        texts = texts.naming("end", end.to_string());
    }
    assert!(exit.stderr.contains("on_data_loss"), "{}", exit.stderr);
    texts.check("overtaken_retention", &exit.stderr)?;
    goes_on_after_reset(&mut job)
}

#[test]
fn records_that_retention_took_are_a_named_gap_if_that_is_allowed() -> Result<()> {
    let mut job = overtaken("gap")?;
    let yaml = std::fs::read_to_string(job.workplace.path().join("pipeline.yaml"))?;
    job.workplace.write("pipeline.yaml", yaml.replace("start: earliest", "start: earliest, on_data_loss: earliest"))?;
    job.feed((0..100).map(|n| format!("key-{n}")))?;
    let run = job.start()?;
    // What was lost is missing in the counts, and nothing else: each key had 20 of its 40 records counted.
    eventually("a count of each key behind the gap", LONG, || {
        anyhow::ensure!(run.exited()?.is_none(), "{}", run.log_end());
        let output = job.client()?.consume_all(&job.output, Isolation::Committed)?;
        Ok((output.iter().filter(|record| record.value_text() == "21").count() == 100).then_some(()))
    })?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    let commits = Commits::read(job.client()?, &job.id, Isolation::Committed)?.commits;
    let lost = commits.iter().flat_map(|(_, commit)| &commit.gaps).map(|gap| gap.to - gap.from);
    assert_eq!(lost.sum::<i64>(), 2_000);
    job.verify()?.expect_code(0)?;
    Ok(())
}

/// Changes a byte in the middle of each file below `folder` whose name `chosen` likes; gives how many there were.
fn corrupt(folder: &Path, chosen: &dyn Fn(&str) -> bool) -> Result<u32> {
    let mut changed = 0;
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            changed += corrupt(&path, chosen)?;
            continue;
        }
        let mut bytes = std::fs::read(&path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle).filter(|_| chosen(&name)) {
            *byte ^= 0xff;
            std::fs::write(&path, bytes)?;
            changed += 1;
        }
    }
    Ok(changed)
}

#[test]
fn a_store_whose_files_are_damaged() -> Result<()> {
    let job = stopped("damaged")?;
    let state = job.workplace.path().join("state");
    assert!(corrupt(&state, &|name| name.ends_with(".sst") || name.starts_with("MANIFEST"))? > 0);
    let exit = job.start()?.wait(LONG)?;
    assert!(matches!(exit.code, Some(1 | CONFIG)), "{:?} {}", exit.code, exit.stderr);
    texts_of(&job)?.check("damaged_store", &exit.stderr)?;
    std::fs::remove_dir_all(&state)?;
    goes_on(job, &MillstreamOptions::default())
}

#[test]
fn a_checkpoint_whose_files_are_damaged() -> Result<()> {
    let mut job = CountJob::new(Kafka::shared()?, "damaged-checkpoint", &CountJobOptions::default())?;
    let mut counts = job.counts()?;
    job.feed((0..2_000).map(|n| format!("key-{}", n % 100)))?;
    let run = job.start()?;
    job.settle(&mut counts, &run, LONG)?;
    assert_eq!(job.workplace.command(&["savepoint", "pipeline.yaml"])?.code, Some(0));
    run.kill()?;
    let listed = job.workplace.command(&["checkpoint", "list", "pipeline.yaml", "-o", "json"])?;
    let listed: serde_json::Value = serde_json::from_str(&listed.stdout)?;
    let path = listed.pointer("/0/path").and_then(|path| path.as_str()).context("no checkpoint is listed")?.to_owned();
    let verify = |path: &str| job.workplace.command(&["checkpoint", "verify", path]);
    assert_eq!(verify(&path)?.code, Some(0));
    // Checkpoints share their files, which lie beside them.
    let files = job.workplace.path().join(&path).parent().context("a checkpoint lies in a directory")?.join("files");
    assert!(corrupt(&files, &|_| true)? > 0);
    let verified = verify(&path)?;
    assert_eq!(verified.code, Some(1), "{}{}", verified.stdout, verified.stderr);
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    let texts = texts_of(&job)?.naming("checkpoint", name);
    texts.check("damaged_checkpoint", &verified.stderr)?;
    std::fs::remove_dir_all(job.workplace.path().join("state/db")).ok();
    let from = MillstreamOptions {
        more_arguments: vec!["--from-checkpoint".to_owned(), path],
        ..MillstreamOptions::default()
    };
    let exit = job.start_with(&from)?.wait(LONG)?;
    assert!(matches!(exit.code, Some(1 | CONFIG)), "{:?} {}", exit.code, exit.stderr);
    texts.check("run_from_damaged_checkpoint", &exit.stderr)?;
    goes_on(job, &MillstreamOptions::default())
}
