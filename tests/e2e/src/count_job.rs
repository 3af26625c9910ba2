//! The job most tests run: topic → keyed count → topic.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::{Counts, Exit, Kafka, Millstream, MillstreamOptions, OutsideClient, Record, Workplace};

/// A keyed count between two topics of a broker, its workplace, and the model of what it has to give.
#[derive(Debug)]
pub struct CountJob<'a> {
    /// The broker.
    pub kafka: &'a Kafka,
    /// Where it runs: pipeline file and state.
    pub workplace: Workplace,
    /// Id of the pipeline.
    pub id: String,
    /// Topic it reads.
    pub input: String,
    /// Topic it writes.
    pub output: String,
    model: BTreeMap<String, u64>,
    records: u64,
}

/// How the job differs from the usual one.
#[derive(Debug, Clone)]
pub struct CountJobOptions {
    /// Partitions of input and output.
    pub partitions: i32,
    /// Where Millstream finds the broker; by default where the tests do. For a proxy.
    pub bootstrap: Option<String>,
    /// File name of the operator in `plugins/dist` or `tests/guests/dist`, or an absolute path.
    pub module: PathBuf,
    /// More lines below the operator, each with the indentation of `module:` and its line break.
    pub operator: String,
    /// The block `commit:`, on one line.
    pub commit: String,
    /// More blocks at the end of the pipeline file.
    pub more: String,
}

impl Default for CountJobOptions {
    fn default() -> Self {
        Self {
            partitions: 4,
            bootstrap: None,
            module: plugin("count"),
            operator: String::new(),
            commit: "{ interval: 100ms }".to_owned(),
            more: String::new(),
        }
    }
}

/// Path of an operator that ships with Millstream.
#[must_use]
pub fn plugin(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../plugins/dist/{name}.wasm"))
}

/// Path of an operator that only tests use.
#[must_use]
pub fn guest(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../guests/dist/{name}.wasm"))
}

impl<'a> CountJob<'a> {
    /// Makes the topics and the workplace; nothing runs yet.
    ///
    /// # Errors
    /// If the broker refuses, or the operator was not built.
    pub fn new(kafka: &'a Kafka, name: &str, options: &CountJobOptions) -> Result<Self> {
        let input = kafka.topic(&format!("{name}-in"), options.partitions)?;
        let output = kafka.topic(&format!("{name}-out"), options.partitions)?;
        let id = crate::kafka::unique(name);
        let module = options.module.canonicalize();
        let module = module.with_context(|| format!("{} is missing: make plugins guests", options.module.display()))?;
        let yaml = format!(
            "id: {id}\n\
             kafka: {{ brokers: \"{brokers}\" }}\n\
             sources:\n  in: {{ topic: {input}, start: earliest }}\n\
             operators:\n  count:\n    module: {module}\n    inputs: [in]\n    key_by: key\n{operator}\
             sinks:\n  out: {{ topic: {output}, inputs: [count] }}\n\
             commit: {commit}\n\
             state: {{ dir: ./state }}\n{more}",
            brokers = options.bootstrap.as_deref().unwrap_or(kafka.bootstrap()),
            module = module.display(),
            operator = options.operator,
            commit = options.commit,
            more = options.more,
        );
        let workplace = Workplace::with_pipeline(&yaml)?;
        Ok(Self { kafka, workplace, id, input, output, model: BTreeMap::new(), records: 0 })
    }

    /// Writes one record for each key; the model counts them.
    ///
    /// # Errors
    /// If the broker refuses.
    pub fn feed<K: Into<String>>(&mut self, keys: impl IntoIterator<Item = K>) -> Result<()> {
        let (model, records) = (&mut self.model, &mut self.records);
        let input = keys.into_iter().map(|key| {
            let key = key.into();
            let record = Record::new(key.clone(), "x");
            *model.entry(key).or_default() += 1;
            *records += 1;
            record
        });
        self.kafka.client()?.produce(&self.input, input).map(drop)
    }

    /// Starts a run.
    ///
    /// # Errors
    /// If there is no binary.
    pub fn start(&self) -> Result<Millstream> {
        self.start_with(&MillstreamOptions::default())
    }

    /// Starts a run in its own way.
    ///
    /// # Errors
    /// If there is no binary.
    pub fn start_with(&self, options: &MillstreamOptions) -> Result<Millstream> {
        self.workplace.start(options)
    }

    /// A reader of the output that checks it.
    ///
    /// # Errors
    /// If the client does not start.
    pub fn counts(&self) -> Result<Counts<'a>> {
        Ok(Counts::new(self.kafka.client()?, &self.output))
    }

    /// A client that is not ours.
    ///
    /// # Errors
    /// If it does not start.
    pub fn client(&self) -> Result<&'a OutsideClient> {
        self.kafka.client()
    }

    /// How many records were fed.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Key → how often it was fed.
    #[must_use]
    pub fn model(&self) -> &BTreeMap<String, u64> {
        &self.model
    }

    /// Waits until everything that was fed has come out, and compares.
    ///
    /// # Errors
    /// If it does not come, or differs from the model.
    pub fn settle(&self, counts: &mut Counts<'_>, run: &Millstream, timeout: Duration) -> Result<()> {
        let settled = crate::eventually("the whole output", timeout, || {
            if let Some(exit) = run.exited()? {
                bail!("millstream ended: {:?}, {:?}", exit.code, exit.signal);
            }
            Ok((counts.read_on()? >= self.records).then_some(()))
        });
        settled.with_context(|| {
            format!("{} of {} records came; the log ends:\n{}", counts.records(), self.records, run.log_end())
        })?;
        self.compare(counts)
    }

    /// Compares what was read with the model.
    ///
    /// # Errors
    /// If they differ.
    pub fn compare(&self, counts: &Counts<'_>) -> Result<()> {
        if counts.by_key() == &self.model {
            return Ok(());
        }
        let wrong = self.model.iter().find(|&(key, count)| counts.by_key().get(key) != Some(count));
        bail!("{} records came of {}; the first key that differs: {wrong:?}", counts.records(), self.records)
    }

    /// Feeds each key of the model once more and waits for its count: the state, seen from outside.
    ///
    /// # Errors
    /// If a count does not go on where it stopped.
    pub fn probe_state(&mut self, counts: &mut Counts<'_>, run: &Millstream, timeout: Duration) -> Result<()> {
        let keys: Vec<String> = self.model.keys().cloned().collect();
        self.feed(keys)?;
        self.settle(counts, run, timeout)
    }

    /// Runs `millstream verify` on the stopped pipeline.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn verify(&self) -> Result<Exit> {
        self.workplace.command(&["verify", "pipeline.yaml"])
    }
}
