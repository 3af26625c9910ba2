//! The keyed count in versions that can be told apart: each output says which one made it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    Answer, CountJob, CountJobOptions, Door, Isolation, Kafka, Millstream, MillstreamOptions, Positions, Request,
    eventually, guest,
};

const LONG: Duration = Duration::from_secs(180);

/// `visits-1` between two topics, to be swapped for other versions of it; `tests/guests` has them.
#[derive(Debug)]
pub struct Visits<'a> {
    /// The job; its operator is called `count`.
    pub job: CountJob<'a>,
    /// What came out.
    pub seen: SeenVisits,
}

/// What a reader of the output has seen.
#[derive(Debug, Default)]
pub struct SeenVisits {
    next: Positions,
    /// Newest count of each key.
    pub by_key: BTreeMap<String, u64>,
    /// Outputs of each version.
    pub by_version: BTreeMap<String, u64>,
    /// All of them.
    pub records: u64,
}

/// A run with its door.
#[derive(Debug)]
pub struct OpenRun {
    /// The process.
    pub run: Millstream,
    /// Its door.
    pub door: Door,
}

impl<'a> Visits<'a> {
    /// With `visits-1` in the pipeline file, which is configured with `config`.
    ///
    /// # Errors
    /// As [`CountJob::new`].
    pub fn new(kafka: &'a Kafka, name: &str, config: &str) -> Result<Self> {
        let options = CountJobOptions {
            module: guest("visits-1"),
            operator: format!("    config: {config}\n"),
            ..CountJobOptions::default()
        };
        Ok(Self { job: CountJob::new(kafka, name, &options)?, seen: SeenVisits::default() })
    }

    /// Starts a run and waits until it processes.
    ///
    /// # Errors
    /// If it ends, or does not begin.
    pub fn start(&self) -> Result<OpenRun> {
        let run = self.job.start_with(&MillstreamOptions::default())?;
        let state = self.job.workplace.path().join("state");
        let opened = eventually("the door", LONG, || {
            ensure!(run.exited()?.is_none(), "it ended");
            let Ok(door) = Door::of(&state) else { return Ok(None) };
            let ready = door.send(&Request::new("GET /readyz", &[("Host", &door.address)]));
            Ok(ready.is_ok_and(|answer| answer.status == 200).then_some(door))
        });
        let door = opened.with_context(|| format!("its log ends:\n{}", run.log_end()))?;
        Ok(OpenRun { run, door })
    }

    /// Reads on in the output: for each key the counts have to be 1, 2, 3 … whichever version made them.
    ///
    /// # Errors
    /// If a record was lost or repeated.
    pub fn read_on(&mut self) -> Result<u64> {
        let (records, next) = self.job.client()?.consume_from(
            &self.job.output,
            Isolation::Committed,
            &self.seen.next,
            0,
            Duration::ZERO,
        )?;
        self.seen.next = next;
        for record in &records {
            let text = record.value_text();
            let (version, count) = text.split_once(':').with_context(|| format!("an output {text:?}"))?;
            let count: u64 = count.parse()?;
            let last = self.seen.by_key.entry(record.key_text()).or_default();
            if count != *last + 1 {
                let fault = if count <= *last { "repeated" } else { "lost" };
                bail!("key {:?} goes from {last} to {text} at {record:?}: a record was {fault}", record.key_text());
            }
            *last = count;
            *self.seen.by_version.entry(version.to_owned()).or_default() += 1;
            self.seen.records += 1;
        }
        Ok(self.seen.records)
    }

    /// Waits until as many records came out as these are, and compares.
    ///
    /// # Errors
    /// If they do not come, or others do.
    pub fn settle(&mut self, sent: &BTreeMap<String, u64>, run: &OpenRun) -> Result<()> {
        let all = sent.values().sum();
        eventually("the whole output", LONG, || {
            ensure!(run.run.exited()?.is_none(), "it ended:\n{}", run.run.log_end());
            Ok((self.read_on()? >= all).then_some(()))
        })
        .with_context(|| format!("{} of {all} records came", self.seen.records))?;
        ensure!(&self.seen.by_key == sent, "the output is not what was sent: {} records of {all}", self.seen.records);
        Ok(())
    }

    /// Ends a run in good order, and has `millstream verify` say that all is well.
    ///
    /// # Errors
    /// If either does not go well.
    pub fn stop(&self, run: &OpenRun) -> Result<()> {
        run.run.terminate()?;
        run.run.wait(LONG)?.expect_code(0)?;
        self.job.verify()?.expect_code(0).map(drop)
    }
}

impl OpenRun {
    /// Asks for a module to take over, and waits for the answer.
    ///
    /// # Errors
    /// If there is none.
    pub fn swap(&self, module: &[u8], query: &str) -> Result<Answer> {
        let line = format!("POST /api/v1/operators/count/swap{query}");
        self.door.send(&self.door.request(&line).with("application/wasm", module))
    }

    /// The same for a module that has to take over.
    ///
    /// # Errors
    /// If it does not.
    pub fn swapped(&self, module: &[u8], query: &str) -> Result<Value> {
        let answer = self.swap(module, query)?;
        ensure!(answer.status == 200, "{} {}\n{}", answer.status, answer.body, self.run.log_end());
        Ok(answer.body)
    }

    /// What the door says of the operator.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn operator(&self) -> Result<Value> {
        Ok(self.door.ask("GET /api/v1/operators/count")?.body)
    }

    /// The generation that runs.
    ///
    /// # Errors
    /// If the door does not answer.
    pub fn generation(&self) -> Result<u64> {
        let operator = self.operator()?;
        operator.get("generation").and_then(Value::as_u64).with_context(|| format!("no generation in {operator}"))
    }
}
