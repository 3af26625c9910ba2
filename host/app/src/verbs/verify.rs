use crate::cli::{Format, Reading};
use crate::compose;
use crate::config::{PipelineFile, Resolved, SinkKind};
use crate::error::{Failure, Outcome};
use crate::history;
use millstream_engine::commit::codec::{decode_commit, decode_open};
use millstream_engine::commit::verify::{self, Finding, Proof, Standing, TopicFacts, Walk};
use millstream_engine::ports::{LogError, LogErrorKind, Meta, StateBackend};
use millstream_kafka::{KafkaCluster, Properties, changelog_topic, commits_topic, read_changelog, sum_topic};
use millstream_model::commit::{CommitRecord, OutputTotal};
use millstream_model::ids::Token;
use millstream_state::{Error, RocksStore, StateDir, store_path};
use serde::Serialize;
use std::collections::BTreeMap;

/// What was looked at, and what came of it.
#[derive(Debug, Serialize)]
struct Report {
    pipeline: String,
    /// Commits that were walked.
    commits: u64,
    /// The newest one.
    newest: Option<String>,
    /// Nothing was found that cannot be.
    passed: bool,
    /// What agrees.
    proven: Vec<Line>,
    /// What could not be proven, and why.
    notes: Vec<Line>,
    /// What is wrong.
    findings: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    /// A topic, a file or a directory.
    place: String,
    text: String,
}

/// What is known of the state directory.
enum Held {
    /// Nobody else has it while we look.
    Ours(StateDir, Box<RocksStore>),
    /// The pipeline is running.
    Running(String),
    /// There is none here.
    Absent,
}

/// `millstream verify`: proves that positions adjoin, and that outputs, changelog and state agree with the newest commit.
pub(crate) fn verify(reading: &Reading) -> Outcome<()> {
    let file = PipelineFile::read(&reading.pipeline.file)?;
    let resolved = super::with_overrides(&file, &reading.overrides)?;
    let cluster = compose::connect(&resolved, compose::Missing::Leave)?;
    let mut report = Report::new(&resolved.id);
    let held = hold(&resolved)?;
    match (&resolved.kafka, &cluster) {
        (Some(properties), Some(cluster)) => report.with_log(&resolved, properties, cluster, &held)?,
        _ => report.without_log(&resolved, &held)?,
    }
    report.passed = report.findings.is_empty();
    report.show(reading.output)?;
    if report.passed {
        return Ok(());
    }
    Err(Failure::failed(format!(
        "pipeline `{}` is not as its commits say: {} finding(s)",
        report.pipeline,
        report.findings.len()
    )))
}

fn hold(resolved: &Resolved) -> Outcome<Held> {
    if !store_path(&resolved.state_dir).exists() {
        return Ok(Held::Absent);
    }
    match StateDir::take(&resolved.state_dir, &resolved.id) {
        Ok(directory) => {
            let store = RocksStore::open_read_only(&directory.store()).map_err(Failure::failed)?;
            Ok(Held::Ours(directory, Box::new(store)))
        }
        Err(Error::Running { pid, .. }) => Ok(Held::Running(pid)),
        Err(error) => Err(Failure::of_directory(&error)),
    }
}

impl Report {
    fn new(pipeline: &str) -> Self {
        Self {
            pipeline: pipeline.to_owned(),
            commits: 0,
            newest: None,
            passed: false,
            proven: Vec::new(),
            notes: Vec::new(),
            findings: Vec::new(),
        }
    }

    fn prove(&mut self, place: &str, text: impl Into<String>) {
        self.proven.push(Line { place: place.to_owned(), text: text.into() });
    }

    fn note(&mut self, place: &str, text: impl Into<String>) {
        self.notes.push(Line { place: place.to_owned(), text: text.into() });
    }

    fn find(&mut self, place: &str, finding: &Finding) {
        self.findings.push(Line { place: place.to_owned(), text: finding.to_string() });
    }

    fn with_log(
        &mut self,
        resolved: &Resolved,
        properties: &Properties,
        cluster: &KafkaCluster,
        held: &Held,
    ) -> Outcome<()> {
        let place = format!("topic {}", commits_topic(&resolved.id));
        let walk = verify::walk(history::entries(properties, &resolved.id)?);
        self.commits = walk.commits;
        self.newest = walk.found.commit.as_ref().map(|commit| commit.token.to_string());
        walk.findings.iter().for_each(|finding| self.find(&place, finding));
        if walk.findings.is_empty() && walk.commits > 0 {
            self.prove(&place, format!("{} commits, unbroken", walk.commits));
        }
        if let Held::Running(pid) = held {
            self.note(&place, format!("the pipeline is running as process {pid}: outputs and state are not compared"));
            return Ok(());
        }
        let before = self.findings.len();
        let is_at = self.standing(&place, walk.found.commit.as_ref(), held)?;
        if let Some(newest) = &walk.found.commit {
            self.topics(resolved, properties, cluster, &walk)?;
            self.files(resolved, newest);
        } else {
            self.note(&place, "there is no commit");
        }
        if let (true, Held::Ours(directory, store)) = (is_at, held) {
            self.cells(resolved, properties, &walk, (directory, store.as_ref()))?;
        }
        // Another process, with a directory of its own, may have committed meanwhile.
        let again = verify::walk(history::entries(properties, &resolved.id)?).found.commit;
        if again.map(|commit| commit.token) != walk.found.commit.map(|commit| commit.token) {
            self.findings.truncate(before);
            self.note(&place, "the pipeline is running somewhere else: outputs and state cannot be compared");
        }
        Ok(())
    }

    /// Whether the store is at the newest commit.
    fn standing(&mut self, place: &str, newest: Option<&CommitRecord>, held: &Held) -> Outcome<bool> {
        let Held::Ours(directory, store) = held else {
            self.note("state", "there is no state directory here: changelog and state are not compared");
            return Ok(false);
        };
        let shown = format!("state {}", directory.path().display());
        if store.meta(Meta::Restoring).map_err(Failure::failed)?.is_some() {
            self.note(&shown, "a restore was cut off: the next start makes it again");
            return Ok(false);
        }
        let applied = applied(store)?.map(|applied| applied.token);
        match verify::standing(newest.map(|newest| newest.token), applied) {
            Standing::At => return Ok(newest.is_some()),
            Standing::Behind { store } => {
                let store = store.map_or_else(|| "empty".to_owned(), |store| format!("at commit {store}"));
                self.note(&shown, format!("it is {store}: the next start brings it forward from the changelog"));
            }
            Standing::Elsewhere { store } => {
                self.note(&shown, format!("it is of another history (commit {store}): the pipeline was reset"));
            }
            Standing::Ahead(finding) => self.find(place, &finding),
        }
        Ok(false)
    }

    fn topics(
        &mut self,
        resolved: &Resolved,
        properties: &Properties,
        cluster: &KafkaCluster,
        walk: &Walk,
    ) -> Outcome<()> {
        let (Some(newest), Some(open)) = (&walk.found.commit, &walk.found.open) else { return Ok(()) };
        // Sinks may share a topic.
        let mut topics: BTreeMap<&str, (OutputTotal, Vec<i64>)> = BTreeMap::new();
        for sink in &resolved.sinks {
            let SinkKind::Topic { topic, .. } = &sink.kind else { continue };
            let Some(starts) = open.sink_starts.get(&sink.id) else { continue };
            let total = newest.output_totals.get(&sink.id).copied().unwrap_or_default();
            let (sum, begin) = topics.entry(topic).or_insert_with(|| (OutputTotal::default(), starts.clone()));
            sum.records += total.records;
            sum.checksum = sum.checksum.wrapping_add(total.checksum);
            begin.iter_mut().zip(starts).for_each(|(begin, start)| *begin = (*begin).min(*start));
        }
        for (topic, (committed, starts)) in topics {
            let place = format!("topic {topic}");
            let found = sum_topic(properties, topic, &starts).map_err(Failure::failed)?;
            let setting = |name: &str| cluster.topic_setting(topic, name).map_err(Failure::failed);
            let now_ms = millstream_engine::ports::Clock::now_ms(&millstream_engine::ports::SystemClock::default());
            let oldest_ms = found
                .oldest_ms
                .or_else(|| newest.positions.iter().filter_map(|position| position.timestamp_ms_max).max());
            let facts = TopicFacts {
                total: found.total,
                starts,
                begins: found.begins,
                is_compacted: setting("cleanup.policy")?.is_some_and(|policy| policy.contains("compact")),
                kept_since_ms: kept_since_ms(setting("retention.ms")?, setting("retention.bytes")?, now_ms),
                oldest_ms: written_since_ms(walk).zip(oldest_ms).map(|(written, oldest)| written.min(oldest)),
            };
            match verify::outputs(committed, &facts) {
                Proof::Agrees => self.prove(&place, format!("{} records, as committed", committed.records)),
                Proof::Impossible(why) => self.note(&place, format!("nothing can be proven of it: {why}")),
                Proof::Finding(finding) => self.find(&place, &finding),
            }
        }
        Ok(())
    }

    fn files(&mut self, resolved: &Resolved, newest: &CommitRecord) {
        for sink in &resolved.sinks {
            let SinkKind::File { path, .. } = &sink.kind else { continue };
            let Some(committed) = newest.file_lengths.get(&sink.id).copied() else { continue };
            let place = format!("file {}", path.display());
            let found = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
            match found.checked_sub(committed) {
                None => self.find(&place, &Finding::Cut { committed, found }),
                Some(0) => self.prove(&place, format!("{committed} bytes, as committed")),
                Some(more) => {
                    self.note(
                        &place,
                        format!("{more} bytes at its end are not committed: the next start cuts them off"),
                    );
                }
            }
        }
    }

    /// Lays the changelog out in a store of its own and compares the two.
    fn cells(
        &mut self,
        resolved: &Resolved,
        properties: &Properties,
        walk: &Walk,
        (directory, store): (&StateDir, &RocksStore),
    ) -> Outcome<()> {
        let Some(open) = &walk.found.open else { return Ok(()) };
        let topic = changelog_topic(&resolved.id, open.changelog);
        let staging = directory.staging();
        let fold = staging.join("verify");
        std::fs::create_dir_all(&staging).map_err(Failure::failed)?;
        let folded = RocksStore::open(&fold, resolved.state_memory_bytes / 2).map_err(Failure::failed)?;
        let read = read_changelog(properties, &topic, &mut |changes| {
            folded.write(std::slice::from_ref(changes), &[], false).map_err(|error| LogError {
                kind: LogErrorKind::Fatal,
                during: format!("laying out topic `{topic}`"),
                reason: error.to_string(),
            })
        });
        let compared =
            read.map_err(Failure::failed).and_then(|()| verify::cells(&folded, store).map_err(Failure::failed));
        drop(folded);
        let _ = std::fs::remove_dir_all(&staging);
        let place = format!("topic {topic}");
        match compared? {
            (cells, None) => self.prove(&place, format!("{cells} cells, as in the store")),
            (_, Some(finding)) => self.find(&place, &finding),
        }
        Ok(())
    }

    /// Without Kafka the store is the log.
    fn without_log(&mut self, resolved: &Resolved, held: &Held) -> Outcome<()> {
        let place = format!("state {}", resolved.state_dir.display());
        let store = match held {
            Held::Ours(_, store) => store,
            Held::Running(pid) => {
                self.note(&place, format!("the pipeline is running as process {pid}: nothing is compared"));
                return Ok(());
            }
            Held::Absent => {
                self.note(&place, "there is no state directory: the pipeline has not run");
                return Ok(());
            }
        };
        let open = store.meta(Meta::Open).map_err(Failure::failed)?;
        let open = open.map(|bytes| decode_open(&bytes)).transpose().map_err(Failure::failed)?;
        let Some(newest) = applied(store)? else {
            self.note(&place, "there is no commit");
            return Ok(());
        };
        self.commits = 1;
        self.newest = Some(newest.token.to_string());
        if open.is_some_and(|open| open.lineage != newest.token.lineage) {
            self.find(&place, &Finding::Unopened { token: newest.token });
        } else {
            self.prove(&place, format!("commit {}", shown(newest.token)));
        }
        self.files(resolved, &newest);
        Ok(())
    }

    fn show(&self, format: Format) -> Outcome<()> {
        if format == Format::Json {
            return super::print_json(self);
        }
        let newest = self.newest.as_deref().unwrap_or("none");
        anstream::println!("{}: {} commits, the newest is {newest}", self.pipeline, self.commits);
        for (kind, lines) in [("proven", &self.proven), ("note", &self.notes), ("FOUND", &self.findings)] {
            for line in lines {
                anstream::println!("  {kind:6}  {}: {}", line.place, line.text);
            }
        }
        Ok(())
    }
}

fn shown(token: Token) -> String {
    token.to_string()
}

fn applied(store: &RocksStore) -> Outcome<Option<CommitRecord>> {
    let bytes = store.meta(Meta::Applied).map_err(Failure::failed)?;
    bytes.map(|bytes| decode_commit(&bytes)).transpose().map_err(Failure::failed)
}

/// Since when a topic with these settings keeps everything; `None` where that depends on its size.
fn kept_since_ms(retention_ms: Option<String>, retention_bytes: Option<String>, now_ms: i64) -> Option<i64> {
    if retention_bytes.is_some_and(|bytes| bytes != "-1") {
        return None;
    }
    match retention_ms?.parse::<i64>().ok()? {
        -1 => Some(i64::MIN),
        kept_ms => Some(now_ms.saturating_sub(kept_ms)),
    }
}

/// When the history's first commit was made, if it is still known.
fn written_since_ms(walk: &Walk) -> Option<i64> {
    walk.oldest.as_ref().filter(|oldest| oldest.previous.is_none()).map(|oldest| oldest.committed_ms)
}
