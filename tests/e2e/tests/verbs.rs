//! The verbs of the command line, as a user goes through them: from an operator that does not exist yet to one that runs, is watched and is taken away.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::fs::OpenOptions;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::{
    CountJob, CountJobOptions, Exit, Kafka, Millstream, MillstreamOptions, Workplace, eventually, free_port,
};
use serde_json::Value;

/// An operator and the SDK below it are compiled, for two targets.
const LONG: Duration = Duration::from_secs(900);

const CONFIG: i32 = 78;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A user's place: a directory to work in, a plugin store and a cache.
struct Desk {
    workplace: Workplace,
    environment: Vec<(String, String)>,
}

impl Desk {
    fn new() -> Result<Self> {
        let workplace = Workplace::new()?;
        let test = std::env::current_exe()?;
        let target = test.ancestors().nth(3).context("the test is not in a target directory")?.join("new-operator");
        let home = workplace.path().join("home").display().to_string();
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let environment = vec![
            variable("XDG_DATA_HOME", &home),
            variable("XDG_CACHE_HOME", &home),
            // Kept from run to run.
            variable("CARGO_TARGET_DIR", &target.display().to_string()),
        ];
        Ok(Self { workplace, environment })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.workplace.path().join(name)
    }

    fn start(&self, line: &str) -> Result<Millstream> {
        let arguments = line.split(' ').map(str::to_owned).collect();
        let environment = self.environment.clone();
        let options = MillstreamOptions { arguments: Some(arguments), environment, ..MillstreamOptions::default() };
        self.workplace.start(&options)
    }

    fn say(&self, line: &str) -> Result<Exit> {
        self.start(line)?.wait(LONG)
    }

    /// What a verb says that does what it is told.
    fn ask(&self, line: &str) -> Result<String> {
        Ok(self.say(line).and_then(|exit| exit.expect_code(0)).with_context(|| line.to_owned())?.stdout)
    }

    fn ask_json(&self, line: &str) -> Result<Value> {
        serde_json::from_str(&self.ask(&format!("{line} -o json"))?).with_context(|| line.to_owned())
    }

    fn cargo_test(&self, crate_: &str) -> Result<String> {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--manifest-path"]).arg(self.path(crate_).join("Cargo.toml"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        let output = command.output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        Ok(said)
    }

    fn append(&self, file: &str, text: &str) -> Result<()> {
        Ok(OpenOptions::new().append(true).open(self.path(file))?.write_all(text.as_bytes())?)
    }

    fn wait_for_lines(&self, file: &str, count: usize, run: &Millstream) -> Result<()> {
        eventually(&format!("{count} lines in {file}"), LONG, || {
            ensure!(run.exited()?.is_none(), "{}", run.log_end());
            let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
            Ok((text.lines().count() >= count).then_some(()))
        })
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Result<&'a str> {
    let found = value.pointer(pointer).with_context(|| format!("nothing at {pointer} of {value}"))?;
    found.as_str().with_context(|| format!("{pointer} of {value} is no text"))
}

fn number(value: &Value, pointer: &str) -> Result<u64> {
    let found = value.pointer(pointer).with_context(|| format!("nothing at {pointer} of {value}"))?;
    found.as_u64().with_context(|| format!("{pointer} of {value} is no number"))
}

/// Makes the crate, and the module of it; gives the name under which the plugin store has it.
fn make_operator(desk: &Desk) -> Result<String> {
    let sdk = root().join("guest-sdk/rust").canonicalize()?;
    desk.ask(&format!("new word-count --sdk {}", sdk.display()))?;
    // The versions that the shipped operators are built with, so that nothing else has to be fetched.
    std::fs::copy(root().join("plugins/Cargo.lock"), desk.path("word-count/Cargo.lock"))?;
    let built = desk.ask("build word-count")?;
    ensure!(built.contains("word-count.wasm") && built.trim_end().ends_with(" word-count"), "{built}");
    let tested = desk.cargo_test("word-count")?;
    ensure!(tested.contains("each_key_has_its_own_count ... ok"), "{tested}");
    let tested = desk.ask("test word-count/pipeline.yaml")?;
    assert_eq!(tested, "pass each user has a count\n");
    let verdicts = desk.ask_json("test word-count/pipeline.yaml")?;
    assert_eq!(verdicts.pointer("/0/passed"), Some(&Value::Bool(true)));
    let added = desk.ask("plugin add word-count/word-count.wasm")?;
    let (name, digest) = added.trim_end().split_once(' ').with_context(|| added.clone())?;
    ensure!(built.contains(digest), "{built} {digest}");
    ensure!(desk.ask("plugin list")?.contains(name));
    let listed = desk.ask_json("plugin list")?;
    assert_eq!(text(&listed, "/0/name")?, name);
    let inspected = desk.ask_json(&format!("inspect {name}"))?;
    assert_eq!(text(&inspected, "/digest")?, digest);
    ensure!(desk.ask(&format!("inspect {name}"))?.contains("seen"));
    Ok(name.to_owned())
}

/// `GET path`, answered.
fn get(port: u16, path: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn check_metrics(port: u16) -> Result<()> {
    let answer = get(port, "/metrics")?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ensure!(answer.contains("content-type: application/openmetrics-text") && answer.contains("# EOF"), "{answer}");
    let value = |name: &str| -> Result<f64> {
        let line = answer.lines().find(|line| line.starts_with(name)).with_context(|| format!("{name}: {answer}"))?;
        Ok(line.rsplit_once(' ').context("a line without a value")?.1.parse()?)
    };
    assert_eq!(value("millstream_source_records_total{pipeline=\"word-count\",source=\"events\"}")?, 3.0);
    ensure!(value("millstream_operator_state_bytes")? > 0.0);
    ensure!(value("millstream_commits_total")? >= 1.0);
    assert_eq!(value("millstream_rollbacks_total")?, 0.0);
    ensure!(get(port, "/")?.starts_with("HTTP/1.1 404"));
    Ok(())
}

/// Checkpoints that the running pipeline takes by itself, and one that it is asked for.
fn check_checkpoints(desk: &Desk) -> Result<()> {
    const PIPELINE: &str = "word-count/pipeline.yaml";
    let kinds = || -> Result<Vec<String>> {
        let listed = desk.ask_json(&format!("checkpoint list {PIPELINE}"))?;
        listed.as_array().context("no list")?.iter().map(|row| Ok(text(row, "/kind")?.to_owned())).collect()
    };
    eventually("a checkpoint that nobody asked for", LONG, || {
        desk.append("word-count/events.jsonl", "{\"user\":\"eve\"}\n")?;
        Ok(kinds()?.contains(&"periodic".to_owned()).then_some(()))
    })?;
    let savepoint = desk.ask(&format!("savepoint {PIPELINE}"))?.trim_end().to_owned();
    ensure!(kinds()?.contains(&"savepoint".to_owned()));
    ensure!(desk.ask(&format!("checkpoint list {PIPELINE}"))?.contains(&savepoint));
    let inspected = desk.ask_json(&format!("checkpoint inspect {savepoint}"))?;
    assert_eq!((text(&inspected, "/pipeline")?, text(&inspected, "/kind")?), ("word-count", "savepoint"));
    ensure!(number(&inspected, "/files")? > 0 && number(&inspected, "/bytes")? > 0);
    assert_eq!(text(&inspected, "/positions/0/source")?, "events");
    ensure!(desk.ask(&format!("checkpoint inspect {savepoint}"))?.contains("position"));
    ensure!(desk.ask(&format!("checkpoint verify {savepoint}"))?.contains("is whole"));
    Ok(())
}

#[test]
fn from_an_operator_that_does_not_exist_to_one_that_runs_and_is_taken_away() -> Result<()> {
    let desk = Desk::new()?;
    let name = make_operator(&desk)?;
    let yaml = std::fs::read_to_string(desk.path("word-count/pipeline.yaml"))?;
    let yaml = yaml.replace("module: ./word-count.wasm", &format!("module: {name}"));
    let yaml = yaml.replace("    key: /user\n", "    key: /user\n    follow: true\n");
    desk.workplace.write("word-count/pipeline.yaml", yaml + "checkpoint: { interval: 100ms }\n")?;
    desk.ask("validate word-count/pipeline.yaml")?;

    let port = free_port()?;
    let run = desk.start(&format!("run word-count/pipeline.yaml --metrics 127.0.0.1:{port}"))?;
    desk.wait_for_lines("word-count/counts.jsonl", 3, &run)?;
    let status = eventually("the first commit", LONG, || {
        let status = desk.ask_json("status word-count/pipeline.yaml")?;
        Ok((number(&status, "/sinks/counts/records")? == 3).then_some(status))
    })?;
    assert_eq!((text(&status, "/id")?, text(&status, "/phase")?), ("word-count", "running"));
    assert_eq!(number(&status, "/sources/events/records")?, 3);
    assert_eq!(number(&status, "/operators/word-count/records_out")?, 3);
    ensure!(desk.ask("status word-count/pipeline.yaml")?.starts_with("word-count: running"));
    check_metrics(port)?;
    check_checkpoints(&desk)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    desk.ask("verify word-count/pipeline.yaml")?;

    desk.ask(&format!("plugin remove {name}"))?;
    assert_eq!(desk.ask_json("plugin list")?, Value::Array(Vec::new()));
    assert_eq!(desk.say(&format!("inspect {name}"))?.code, Some(CONFIG));
    assert_eq!(desk.say("run word-count/pipeline.yaml")?.code, Some(CONFIG));
    Ok(())
}

/// Paths of a pipeline's checkpoints, the newest last.
fn checkpoints(job: &CountJob<'_>) -> Result<Vec<String>> {
    let exit = job.workplace.command(&["checkpoint", "list", "pipeline.yaml", "-o", "json"])?.expect_code(0)?;
    let listed: Value = serde_json::from_str(&exit.stdout)?;
    listed.as_array().unwrap().iter().map(|row| Ok(text(row, "/path")?.to_owned())).collect()
}

#[test]
fn checkpoints_come_by_themselves_are_collected_and_bring_the_state_back() -> Result<()> {
    let keys = || (0..500).map(|n| format!("key-{}", n % 50));
    let options =
        CountJobOptions { more: "checkpoint: { interval: 200ms, keep: 2 }\n".to_owned(), ..CountJobOptions::default() };
    let mut job = CountJob::new(Kafka::shared()?, "interval", &options)?;
    let mut counts = job.counts()?;
    let run = job.start()?;
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 5 {
        job.feed(keys())?;
        job.settle(&mut counts, &run, LONG)?;
        let now = checkpoints(&job)?;
        // One that is being collected may still be there.
        ensure!(now.len() <= 3, "{now:?} are kept");
        seen.extend(now);
    }
    run.kill()?;
    let newest = checkpoints(&job)?.pop().context("no checkpoint is listed")?;
    job.workplace.command(&["checkpoint", "verify", &newest])?.expect_code(0)?;
    std::fs::remove_dir_all(job.workplace.path().join("state/db"))?;
    let more_arguments = vec!["--from-checkpoint".to_owned(), newest];
    let run = job.start_with(&MillstreamOptions { more_arguments, ..MillstreamOptions::default() })?;
    job.probe_state(&mut counts, &run, LONG)?;
    run.terminate()?;
    run.wait(LONG)?.expect_code(0)?;
    job.verify()?.expect_code(0)?;
    Ok(())
}
