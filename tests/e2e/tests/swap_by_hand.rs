//! Swaps as a person makes them on the command line, by changed files and by restarts. No Kafka.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use millstream_e2e::{Exit, Millstream, MillstreamOptions, Workplace, eventually, guest, plugin, variant};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(120);
const CONFIG: i32 = 78;

/// A pipeline whose counting operator is `./count.wasm`.
struct Place(Workplace);

impl Place {
    fn new() -> Result<Self> {
        let filter = plugin("filter-json").canonicalize()?;
        let place = Workplace::with_pipeline(&format!(
            "id: bids\n\
             sources:\n  events: {{ nexmark: {{ partitions: 2, rate: 5000, key: auction }} }}\n\
             operators:\n  bids: {{ module: {filter}, inputs: [events], config: {{ pointer: /bid }} }}\n  \
             count: {{ module: ./count.wasm, inputs: [bids], key_by: key }}\n\
             sinks:\n  out: {{ file: ./out.jsonl, format: json_lines, inputs: [count] }}\n\
             commit: {{ interval: 100ms }}\nstate: {{ dir: ./state }}\n",
            filter = filter.display(),
        ))?;
        let place = Self(place);
        place.put(&read(plugin("count")))?;
        Ok(place)
    }

    /// Puts a module where the pipeline file names one, at once and whole.
    fn put(&self, module: &[u8]) -> Result<()> {
        let partial = self.0.write("count.partial", module)?;
        Ok(std::fs::rename(partial, self.0.path().join("count.wasm"))?)
    }

    fn start(&self, more: &[&str]) -> Result<Millstream> {
        let more_arguments = more.iter().map(|&argument| argument.to_owned()).collect();
        let run = self.0.start(&MillstreamOptions { more_arguments, ..Default::default() })?;
        eventually("the pipeline", SOON, || {
            ensure!(run.exited()?.is_none(), "{}", run.log_end());
            Ok(self.status().is_ok_and(|status| status.get("phase") == Some(&json!("running"))).then_some(()))
        })?;
        Ok(run)
    }

    fn say(&self, line: &str) -> Result<Exit> {
        self.0.command(&line.split(' ').collect::<Vec<_>>())
    }

    fn status(&self) -> Result<Value> {
        let said = self.say("status pipeline.yaml -o json")?.expect_code(0)?;
        Ok(serde_json::from_str(&said.stdout)?)
    }

    fn count(&self) -> Result<Value> {
        self.status()?.pointer("/operators/count").cloned().context("no operator")
    }

    fn generation(&self) -> Result<u64> {
        self.count()?.get("generation").and_then(Value::as_u64).context("no generation")
    }

    fn written(&self) -> Result<u64> {
        self.status()?.pointer("/sinks/out/records").and_then(Value::as_u64).context("no records")
    }

    fn goes_on(&self, run: &Millstream) -> Result<()> {
        let before = self.written()?;
        eventually("more records", SOON, || {
            ensure!(run.exited()?.is_none(), "{}", run.log_end());
            Ok((self.written()? > before).then_some(()))
        })
    }

    /// Waits for the version to have this number, and for a commit under it.
    fn wait_for_generation(&self, number: u64, run: &Millstream) -> Result<()> {
        eventually(&format!("generation {number}"), SOON, || {
            ensure!(run.exited()?.is_none(), "{}", run.log_end());
            Ok((self.generation()? == number).then_some(()))
        })?;
        self.goes_on(run)
    }

    fn stop(&self, run: &Millstream) -> Result<()> {
        self.say("stop pipeline.yaml")?.expect_code(0)?;
        run.wait(SOON)?.expect_code(0)?;
        // What a file holds is what was committed, whichever version wrote it.
        let verified = self.say("verify pipeline.yaml")?;
        ensure!(verified.code == Some(0), "{}{}", verified.stdout, verified.stderr);
        Ok(())
    }
}

fn read(path: PathBuf) -> Vec<u8> {
    std::fs::read(&path).unwrap_or_else(|error| unreachable!("{}: {error}: make plugins guests", path.display()))
}

#[test]
fn verbs_check_swap_refuse_and_go_back() -> Result<()> {
    let place = Place::new()?;
    let run = place.start(&[])?;
    place.goes_on(&run)?;
    let second = plugin("count-2").display().to_string();
    let checked = place.say(&format!("swap count {second} --check"))?.expect_code(0)?;
    for expected in ["state seen", "same", "state highest", "new", "nothing was changed"] {
        ensure!(checked.stdout.contains(expected), "{expected}: {}", checked.stdout);
    }
    assert_eq!(place.generation()?, 1);
    let swapped = place.say(&format!("swap count {second}"))?.expect_code(0)?;
    ensure!(swapped.stdout.starts_with("count runs generation 2 (sha256:"), "{}", swapped.stdout);
    let third = place.say(&format!("swap count {}", plugin("count-3").display()))?.expect_code(1)?;
    ensure!(third.stderr.contains("failed its trial") && third.stderr.contains("Option::unwrap()"), "{}", third.stderr);
    let unfit = place.say(&format!("swap count {}", guest("wrong-world").display()))?.expect_code(CONFIG)?;
    ensure!(unfit.stderr.contains("no operator for this host"), "{}", unfit.stderr);
    let unfit = place.say(&format!("swap count {}", plugin("sum-by-key").display()))?.expect_code(CONFIG)?;
    ensure!(unfit.stderr.contains("output `counts`"), "{}", unfit.stderr);
    let nobody = place.say(&format!("swap coutn {second}"))?.expect_code(CONFIG)?;
    ensure!(nobody.stderr.contains("there is no operator `coutn`"), "{}", nobody.stderr);
    let back = place.say("rollback count -o json")?.expect_code(0)?;
    let back: Value = serde_json::from_str(&back.stdout)?;
    assert_eq!(back.get("generation"), Some(&json!(3)));
    let digest = back.get("digest").and_then(Value::as_str).context("no digest")?.to_owned();
    // Back to the second, by the digest of what ran before.
    let second = place.say(&format!("swap count {second} -o json"))?.expect_code(0)?;
    let second: Value = serde_json::from_str(&second.stdout)?;
    assert_eq!(second.get("generation"), Some(&json!(4)));
    place.say(&format!("swap count {digest}"))?.expect_code(0)?;
    assert_eq!(place.generation()?, 5);
    let shown = place.say("status pipeline.yaml")?.expect_code(0)?;
    ensure!(shown.stdout.contains("count: generation 5 runs; last switched"), "{}", shown.stdout);
    place.goes_on(&run)?;
    place.stop(&run)
}

#[test]
fn a_paused_pipeline_reads_nothing_until_it_is_resumed() -> Result<()> {
    let place = Place::new()?;
    let run = place.start(&[])?;
    place.goes_on(&run)?;
    assert_eq!(place.say("pause pipeline.yaml")?.expect_code(0)?.stdout, "paused\n");
    let read = || place.status()?.pointer("/sources/events/records").and_then(Value::as_u64).context("no records");
    let mut last = read()?;
    eventually("quiet", SOON, || {
        std::thread::sleep(Duration::from_millis(200));
        let (before, now) = (last, read()?);
        last = now;
        Ok((before == now).then_some(()))
    })?;
    ensure!(place.say("status pipeline.yaml")?.stdout.contains("bids: paused"), "it does not say so");
    // Commits go on, so that whoever asks for one has it.
    place.say("savepoint pipeline.yaml")?.expect_code(0)?;
    assert_eq!(place.say("resume pipeline.yaml")?.expect_code(0)?.stdout, "running\n");
    place.goes_on(&run)?;
    place.stop(&run)
}

#[test]
fn a_restart_goes_on_with_what_was_swapped_in_and_a_changed_file_is_tried() -> Result<()> {
    let place = Place::new()?;
    let run = place.start(&[])?;
    place.say(&format!("swap count {}", plugin("count-2").display()))?.expect_code(0)?;
    place.wait_for_generation(2, &run)?;
    run.kill()?;
    // The file names the first version still.
    let run = place.start(&[])?;
    place.wait_for_generation(2, &run)?;
    place.stop(&run)?;
    // A bad version in the file: it is tried, and the one before goes on; so at every start.
    place.put(&read(plugin("count-3")))?;
    for _ in 0..2 {
        let run = place.start(&[])?;
        run.wait_for_log("the module in the pipeline file was refused", SOON)?;
        place.goes_on(&run)?;
        assert_eq!(place.generation()?, 2);
        place.stop(&run)?;
    }
    // A good one takes over, and is what runs from then on.
    place.put(&variant(&read(plugin("count-2")), 1, 0))?;
    let run = place.start(&[])?;
    place.wait_for_generation(3, &run)?;
    run.kill()?;
    let run = place.start(&[])?;
    place.wait_for_generation(3, &run)?;
    place.stop(&run)
}

#[test]
fn a_module_that_cannot_take_over_stops_the_start_and_changes_nothing() -> Result<()> {
    let place = Place::new()?;
    let run = place.start(&[])?;
    place.goes_on(&run)?;
    place.stop(&run)?;
    let before = std::fs::read(place.0.path().join("out.jsonl"))?;
    // Its state `seen` holds other bytes than the counts that are there, under the same version: another kind.
    place.put(&read(guest("wrong-world")))?;
    let refused = place.say("run pipeline.yaml")?.expect_code(CONFIG)?;
    ensure!(refused.stderr.contains("no operator for this host"), "{}", refused.stderr);
    assert_eq!(std::fs::read(place.0.path().join("out.jsonl"))?, before);
    // With the right one back it goes on where it was.
    place.put(&read(plugin("count")))?;
    let run = place.start(&[])?;
    place.goes_on(&run)?;
    assert_eq!(place.generation()?, 1);
    place.stop(&run)
}

#[test]
fn a_file_with_other_ports_deploys_between_two_runs() -> Result<()> {
    let place = Place::new()?;
    let run = place.start(&[])?;
    place.goes_on(&run)?;
    place.stop(&run)?;
    // `poison` has the state `seen` as `count` has it, and another name for its output.
    place.put(&read(guest("poison")))?;
    let run = place.start(&[])?;
    run.wait_for_log("takes over without a trial", SOON)?;
    place.wait_for_generation(2, &run)?;
    place.stop(&run)
}

#[test]
fn a_committed_module_that_is_nowhere_stops_the_start_and_says_where_it_was_looked_for() -> Result<()> {
    let place = Place::new()?;
    let run = place.start(&[])?;
    place.say(&format!("swap count {}", plugin("count-2").display()))?.expect_code(0)?;
    place.wait_for_generation(2, &run)?;
    place.stop(&run)?;
    let modules = place.0.path().join("state/modules");
    let aside = place.0.path().join("aside");
    std::fs::rename(&modules, &aside)?;
    let refused = place.say("run pipeline.yaml")?.expect_code(CONFIG)?;
    for expected in ["operator `count` ran module sha256:", "generation 2", "it is nowhere", "state/modules"] {
        ensure!(refused.stderr.contains(expected), "{expected}: {}", refused.stderr);
    }
    // Naming it in the file is the way out, and so is putting it back.
    place.put(&read(plugin("count-2")))?;
    let run = place.start(&[])?;
    place.wait_for_generation(2, &run)?;
    place.stop(&run)?;
    place.put(&read(plugin("count")))?;
    std::fs::remove_dir_all(&modules)?;
    std::fs::rename(&aside, &modules)?;
    // A copy that is damaged is none.
    for entry in std::fs::read_dir(&modules)? {
        std::fs::write(entry?.path(), b"damaged")?;
    }
    let refused = place.say("run pipeline.yaml")?.expect_code(CONFIG)?;
    ensure!(refused.stderr.contains("it is nowhere"), "{}", refused.stderr);
    Ok(())
}

#[test]
fn watching_swaps_what_changes_and_shows_what_does_not_build() -> Result<()> {
    let place = Place::new()?;
    // A crate beside the module, as `millstream build` leaves it; what is in it does not compile.
    place.0.write(
        "Cargo.toml",
        "[package]\nname = \"count\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n",
    )?;
    place.0.write("src/lib.rs", "// nothing\n")?;
    let run = place.start(&["--watch"])?;
    place.put(&read(plugin("count-2")))?;
    place.wait_for_generation(2, &run)?;
    place.put(b"not a module")?;
    run.wait_for_log("the change was refused", SOON)?;
    place.put(&read(plugin("count-3")))?;
    run.wait_for_log("failed its trial", SOON)?;
    place.0.write("src/lib.rs", "fn broken( {\n")?;
    run.wait_for_log("the build failed", SOON)?;
    ensure!(run.log().contains("broken"), "the compiler's message is not shown");
    assert_eq!(place.generation()?, 2);
    place.goes_on(&run)?;
    place.stop(&run)
}
