use super::raw::{self, Format, OnError, Scalar};
use super::{Problem, nearest, units};
use millstream_connect::{
    FileSourceSettings, LineFormat, MissingFile, NexmarkKey, NexmarkSettings, Pointer, SinkFormat,
};
use millstream_kafka::{OnDataLoss, Properties, Start};
use millstream_model::limits::{BatchLimits, OperatorLimits};
use millstream_model::plan::{CommitSettings, ErrorPolicy, NullKeyPolicy};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Id of the sink that `dead_letters` stands for.
const DEAD_LETTERS: &str = "dead_letters";

/// A pipeline as it will run, but for its modules.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) id: String,
    pub(crate) kafka: Option<Properties>,
    pub(crate) sources: Vec<SourceSpec>,
    pub(crate) operators: Vec<OperatorSpec>,
    pub(crate) sinks: Vec<SinkSpec>,
    /// Position among the sinks.
    pub(crate) dead_letters: Option<u16>,
    pub(crate) commit: CommitSettings,
    pub(crate) state_dir: PathBuf,
    pub(crate) state_memory_bytes: u64,
    pub(crate) checkpoint: CheckpointSpec,
    pub(crate) workers: u32,
    pub(crate) batch: BatchLimits,
}

/// A source.
#[derive(Debug, Clone)]
pub(crate) struct SourceSpec {
    pub(crate) id: String,
    pub(crate) kind: SourceKind,
}

/// What a source reads.
#[derive(Debug, Clone)]
pub(crate) enum SourceKind {
    Topic { topic: String, start: Start, on_data_loss: OnDataLoss, read_uncommitted: bool },
    File { paths: Vec<String>, settings: FileSourceSettings },
    Stdin { format: LineFormat },
    Nexmark(NexmarkSettings),
}

/// An operator.
#[derive(Debug, Clone)]
pub(crate) struct OperatorSpec {
    pub(crate) id: String,
    pub(crate) module: String,
    pub(crate) name: Option<String>,
    pub(crate) inputs: Vec<String>,
    pub(crate) keyed: bool,
    pub(crate) config: String,
    pub(crate) limits: OperatorLimits,
    pub(crate) on_error: ErrorPolicy,
    pub(crate) retries: u32,
    pub(crate) null_key: NullKeyPolicy,
}

/// A sink.
#[derive(Debug, Clone)]
pub(crate) struct SinkSpec {
    pub(crate) id: String,
    pub(crate) kind: SinkKind,
    pub(crate) inputs: Vec<String>,
}

/// What a sink writes.
#[derive(Debug, Clone)]
pub(crate) enum SinkKind {
    Topic { topic: String, create: Option<i32> },
    File { path: PathBuf, format: SinkFormat },
    Stdout { format: SinkFormat },
}

/// When checkpoints are taken, and where they are kept.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointSpec {
    pub(crate) interval_ms: Option<u64>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) keep: usize,
}

/// Checks a pipeline file; relative paths begin at `folder`.
pub(super) fn resolve(raw: &raw::Pipeline, folder: &Path) -> Result<Resolved, Problem> {
    check_id("id", &raw.id)?;
    for id in raw.sources.keys().chain(raw.operators.keys()).chain(raw.sinks.keys()) {
        check_id("an id", id)?;
    }
    let kafka = raw.kafka.as_ref().map(kafka).transpose()?;
    let sources =
        raw.sources.iter().map(|(id, source)| self::source(id, source, folder)).collect::<Result<Vec<_>, _>>()?;
    let operators =
        raw.operators.iter().map(|(id, operator)| self::operator(id, operator, raw)).collect::<Result<Vec<_>, _>>()?;
    for (id, sink) in &raw.sinks {
        check_inputs(&format!("sink `{id}`"), &sink.inputs, raw)?;
    }
    let mut sinks = raw.sinks.iter().map(|(id, sink)| self::sink(id, sink, folder)).collect::<Result<Vec<_>, _>>()?;
    let mut dead_letters = None;
    if let Some(letters) = &raw.dead_letters {
        dead_letters = Some(sinks.len() as u16);
        sinks.push(letters_sink(letters, folder)?);
    }
    check_kafka(&sources, &sinks, kafka.is_some())?;
    check_guarantee(&sources, raw.guarantee)?;
    if sources.is_empty() || sinks.is_empty() {
        return Err(Problem::new("id", "a pipeline needs at least one source and one sink"));
    }
    let state_dir = raw.state.dir.clone().unwrap_or_else(|| format!("./state/{}", raw.id));
    Ok(Resolved {
        id: raw.id.clone(),
        kafka,
        sources,
        operators,
        sinks,
        dead_letters,
        commit: commit(&raw.commit)?,
        state_dir: folder.join(state_dir),
        state_memory_bytes: size("memory", raw.state.memory.as_ref(), 256 << 20)?,
        checkpoint: CheckpointSpec {
            interval_ms: raw
                .checkpoint
                .interval
                .as_ref()
                .map(|value| time_ms("interval", Some(value), 0))
                .transpose()?,
            dir: raw.checkpoint.dir.as_ref().map(|dir| folder.join(dir)),
            keep: raw.checkpoint.keep.unwrap_or(3).max(1),
        },
        workers: workers(raw.workers)?,
        batch: batch(&raw.batch)?,
    })
}

fn check_id(what: &str, id: &str) -> Result<(), Problem> {
    let is_good = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if id.is_empty() || id.len() > 100 || !id.chars().all(is_good) {
        let text = format!(
            "{what} is `{id}`: ids have 1 to 100 letters, digits, `-` and `_`, since they name topics and files"
        );
        return Err(Problem::new(id, text));
    }
    Ok(())
}

fn kafka(raw: &BTreeMap<String, Scalar>) -> Result<Properties, Problem> {
    let mut given = BTreeMap::new();
    for (name, value) in raw {
        let value =
            secret(&value.text()).map_err(|text| Problem::new(name, format!("kafka property `{name}`: {text}")))?;
        given.insert(name.clone(), value);
    }
    let brokers = given.remove("brokers").ok_or_else(|| {
        Problem::new("kafka", "`kafka` needs `brokers`, like `kafka: { brokers: \"localhost:9092\" }`")
    })?;
    Properties::new(&brokers, given).map_err(|error| Problem { text: error.to_string(), about: None })
}

/// `env:NAME` and `file:PATH` stand for a secret that is not in the file.
fn secret(value: &str) -> Result<String, String> {
    if let Some(name) = value.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"));
    }
    if let Some(path) = value.strip_prefix("file:") {
        let text = std::fs::read_to_string(path).map_err(|cause| format!("file {path} cannot be read: {cause}"))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    Ok(value.to_owned())
}

fn source(id: &str, raw: &raw::Source, folder: &Path) -> Result<SourceSpec, Problem> {
    let given = [raw.topic.is_some(), raw.file.is_some(), raw.stdin.is_some(), raw.nexmark.is_some()];
    if given.iter().filter(|given| **given).count() != 1 {
        return Err(Problem::new(
            id,
            format!("source `{id}` needs exactly one of `topic`, `file`, `stdin`, `nexmark`"),
        ));
    }
    let only_topic = [
        ("start", raw.start.is_some()),
        ("on_data_loss", raw.on_data_loss.is_some()),
        ("isolation", raw.isolation.is_some()),
    ];
    let misplaced = only_topic.iter().find(|(_, is_given)| *is_given && raw.topic.is_none());
    if let Some((name, _)) = misplaced {
        return Err(Problem::new(name, format!("source `{id}`: `{name}` is for topics")));
    }
    let kind = if let Some(topic) = &raw.topic {
        SourceKind::Topic {
            topic: topic.clone(),
            start: raw.start.as_ref().map_or(Ok(Start::Earliest), |value| start(id, value))?,
            on_data_loss: match raw.on_data_loss {
                None | Some(raw::DataLoss::Stop) => OnDataLoss::Stop,
                Some(raw::DataLoss::Earliest) => OnDataLoss::Earliest,
            },
            read_uncommitted: raw.isolation == Some(raw::Isolation::ReadUncommitted),
        }
    } else if let Some(paths) = &raw.file {
        let paths = paths.list().iter().map(|path| folder.join(path).display().to_string()).collect();
        SourceKind::File { paths, settings: file_settings(id, raw)? }
    } else if let Some(nexmark) = &raw.nexmark {
        SourceKind::Nexmark(nexmark_settings(id, nexmark))
    } else {
        SourceKind::Stdin { format: line_format(id, raw)? }
    };
    Ok(SourceSpec { id: id.to_owned(), kind })
}

fn start(id: &str, value: &Scalar) -> Result<Start, Problem> {
    let text = value.text();
    match text.as_str() {
        "earliest" => return Ok(Start::Earliest),
        "latest" => return Ok(Start::Latest),
        _ => {}
    }
    if let Some(time) = text.strip_prefix("timestamp:").and_then(|time| time.parse().ok()) {
        return Ok(Start::Timestamp(time));
    }
    if let Some(offset) = text.strip_prefix("offset:").unwrap_or(&text).parse().ok().filter(|offset| *offset >= 0) {
        return Ok(Start::Offset(offset));
    }
    let help = "write `earliest`, `latest`, `offset:N`, or `timestamp:N` in milliseconds since 1970";
    Err(Problem::new(&text, format!("source `{id}`: `start: {text}` is no place to begin: {help}")))
}

fn file_settings(id: &str, raw: &raw::Source) -> Result<FileSourceSettings, Problem> {
    let usual = FileSourceSettings::new(id);
    let bytes = size("record_bytes_max", raw.record_bytes_max.as_ref(), usual.record_bytes_max as u64)?;
    Ok(FileSourceSettings {
        format: line_format(id, raw)?,
        follow: raw.follow.unwrap_or(false),
        missing_file: match raw.missing_file {
            None | Some(raw::MissingFile::Stop) => MissingFile::Stop,
            Some(raw::MissingFile::Skip) => MissingFile::Skip,
        },
        record_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
        ..usual
    })
}

fn line_format(id: &str, raw: &raw::Source) -> Result<LineFormat, Problem> {
    let pointer = |text: &Option<String>| {
        let pointer = text
            .as_ref()
            .map(|text| text.parse::<Pointer>().map_err(|error| Problem::new(text, format!("source `{id}`: {error}"))));
        pointer.transpose()
    };
    match raw.format {
        Some(Format::JsonLines) => {
            Ok(LineFormat::JsonLines { key: pointer(&raw.key)?, timestamp: pointer(&raw.timestamp)? })
        }
        _ => Ok(LineFormat::Lines),
    }
}

fn nexmark_settings(id: &str, raw: &raw::Nexmark) -> NexmarkSettings {
    let mut settings = NexmarkSettings::new(id);
    if let Some(seed) = raw.seed {
        settings.events.seed = seed;
    }
    settings.partitions = raw.partitions.unwrap_or(1).max(1);
    settings.events_max = raw.events;
    settings.events_per_second = raw.rate;
    settings.key = match raw.key {
        None | Some(raw::NexmarkKey::None) => NexmarkKey::None,
        Some(raw::NexmarkKey::Auction) => NexmarkKey::Auction,
        Some(raw::NexmarkKey::Bidder) => NexmarkKey::Bidder,
        Some(raw::NexmarkKey::Type) => NexmarkKey::Type,
    };
    settings
}

fn operator(id: &str, raw: &raw::Operator, pipeline: &raw::Pipeline) -> Result<OperatorSpec, Problem> {
    check_inputs(&format!("operator `{id}`"), &raw.inputs, pipeline)?;
    if raw.on_error == Some(OnError::DeadLetter) && pipeline.dead_letters.is_none() {
        let text =
            format!("operator `{id}` has `on_error: dead_letter` and the pipeline no `dead_letters: {{ topic: … }}`");
        return Err(Problem::new("on_error", text));
    }
    let without = if pipeline.dead_letters.is_some() { ErrorPolicy::DeadLetter } else { ErrorPolicy::Stop };
    Ok(OperatorSpec {
        id: id.to_owned(),
        module: raw.module.clone(),
        name: raw.operator.clone(),
        inputs: raw.inputs.clone(),
        keyed: raw.key_by.is_some(),
        config: raw.config.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string),
        limits: limits(&raw.limits)?,
        on_error: match raw.on_error {
            None => without,
            Some(OnError::DeadLetter) => ErrorPolicy::DeadLetter,
            Some(OnError::Skip) => ErrorPolicy::Skip,
            Some(OnError::Stop) => ErrorPolicy::Stop,
        },
        retries: raw.retries.unwrap_or(3),
        null_key: match raw.null_key {
            None | Some(raw::NullKey::Reject) => NullKeyPolicy::Reject,
            Some(raw::NullKey::Drop) => NullKeyPolicy::Drop,
            Some(raw::NullKey::Empty) => NullKeyPolicy::Empty,
        },
    })
}

/// Checks that what is read is there; names of outputs are checked when the modules are known.
fn check_inputs(who: &str, inputs: &[String], pipeline: &raw::Pipeline) -> Result<(), Problem> {
    if inputs.is_empty() {
        return Err(Problem { text: format!("{who} has no `inputs`: name a source or an operator"), about: None });
    }
    for input in inputs {
        let id = input.split_once('.').map_or(input.as_str(), |(id, _)| id);
        if pipeline.sources.contains_key(id) || pipeline.operators.contains_key(id) {
            continue;
        }
        let names = pipeline.sources.keys().chain(pipeline.operators.keys()).map(String::as_str);
        let hint = nearest(id, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        return Err(Problem::new(
            input,
            format!("{who} reads `{input}`, and there is no such source or operator{hint}"),
        ));
    }
    Ok(())
}

fn sink(id: &str, raw: &raw::Sink, folder: &Path) -> Result<SinkSpec, Problem> {
    let kind = sink_kind(id, (raw.topic.as_ref(), raw.file.as_ref(), raw.stdout), raw.create, raw.format, folder)?;
    Ok(SinkSpec { id: id.to_owned(), kind, inputs: raw.inputs.clone() })
}

fn letters_sink(raw: &raw::DeadLetters, folder: &Path) -> Result<SinkSpec, Problem> {
    let given = (raw.topic.as_ref(), raw.file.as_ref(), raw.stdout);
    let kind = sink_kind(DEAD_LETTERS, given, raw.create, Some(Format::JsonLines), folder)?;
    Ok(SinkSpec { id: DEAD_LETTERS.to_owned(), kind, inputs: Vec::new() })
}

fn sink_kind(
    id: &str,
    given: (Option<&String>, Option<&String>, Option<bool>),
    create: Option<raw::Create>,
    format: Option<Format>,
    folder: &Path,
) -> Result<SinkKind, Problem> {
    let format = if format == Some(Format::JsonLines) { SinkFormat::JsonLines } else { SinkFormat::Lines };
    match given {
        (Some(topic), None, None) => {
            Ok(SinkKind::Topic { topic: topic.clone(), create: create.map(|create| create.partitions) })
        }
        (None, Some(file), None) => Ok(SinkKind::File { path: folder.join(file), format }),
        (None, None, Some(true)) => Ok(SinkKind::Stdout { format }),
        _ => Err(Problem::new(id, format!("sink `{id}` needs exactly one of `topic`, `file`, `stdout`"))),
    }
}

fn check_kafka(sources: &[SourceSpec], sinks: &[SinkSpec], has_kafka: bool) -> Result<(), Problem> {
    let sources =
        sources.iter().filter(|source| matches!(source.kind, SourceKind::Topic { .. })).map(|source| &source.id);
    let sinks = sinks.iter().filter(|sink| matches!(sink.kind, SinkKind::Topic { .. })).map(|sink| &sink.id);
    match sources.chain(sinks).next() {
        Some(id) if !has_kafka => {
            Err(Problem::new(id, format!("`{id}` is a topic and the pipeline has no `kafka: {{ brokers: … }}`")))
        }
        _ => Ok(()),
    }
}

/// Refuses to call exactly once what cannot be.
fn check_guarantee(sources: &[SourceSpec], guarantee: Option<raw::Guarantee>) -> Result<(), Problem> {
    let stdin = sources.iter().find(|source| matches!(source.kind, SourceKind::Stdin { .. }));
    match stdin {
        Some(source) if guarantee != Some(raw::Guarantee::BestEffort) => Err(Problem::new(
            &source.id,
            format!(
                "source `{}` is standard input, which cannot be read again after a crash: exactly once is impossible; say `guarantee: best_effort` if that is fine",
                source.id
            ),
        )),
        _ => Ok(()),
    }
}

fn limits(raw: &raw::Limits) -> Result<OperatorLimits, Problem> {
    let usual = OperatorLimits::default();
    let length = |name: &str, value: &Option<Scalar>, usual: u32| {
        let bytes = size(name, value.as_ref(), u64::from(usual))?;
        u32::try_from(bytes).map_err(|_| Problem::new(name, format!("`limits.{name}` is at most 4 GiB")))
    };
    Ok(OperatorLimits {
        memory_bytes_max: size("memory", raw.memory.as_ref(), usual.memory_bytes_max)?,
        batch_time_ms: time_ms("batch_time", raw.batch_time.as_ref(), usual.batch_time_ms)?,
        record_time_us: match &raw.record_time {
            Some(value) => units::time_us(value).map_err(|text| Problem::new("record_time", text))?,
            None => usual.record_time_us,
        },
        key_bytes_max: length("key", &raw.key, usual.key_bytes_max)?,
        value_bytes_max: length("value", &raw.value, usual.value_bytes_max)?,
        state_value_bytes_max: length("state_value", &raw.state_value, usual.state_value_bytes_max)?,
        outputs_per_record_max: raw.outputs_per_record.unwrap_or(usual.outputs_per_record_max),
        output_bytes_max: size("output_bytes", raw.output_bytes.as_ref(), usual.output_bytes_max)?,
        log_lines_per_second_max: raw.log_lines.unwrap_or(usual.log_lines_per_second_max),
        log_line_bytes_max: usual.log_line_bytes_max,
    })
}

fn commit(raw: &raw::Commit) -> Result<CommitSettings, Problem> {
    let usual = CommitSettings::default();
    let settings = CommitSettings {
        interval_ms: time_ms("interval", raw.interval.as_ref(), usual.interval_ms)?,
        output_bytes_max: size("output_bytes", raw.output_bytes.as_ref(), usual.output_bytes_max)?,
        transaction_timeout_ms: time_ms(
            "transaction_timeout",
            raw.transaction_timeout.as_ref(),
            usual.transaction_timeout_ms,
        )?,
    };
    if settings.interval_ms == 0 || settings.transaction_timeout_ms < 1_000 {
        let text = "`commit.interval` is at least 1ms and `commit.transaction_timeout` at least 1s";
        return Err(Problem::new("commit", text));
    }
    Ok(settings)
}

fn batch(raw: &raw::Batch) -> Result<BatchLimits, Problem> {
    let usual = BatchLimits::default();
    let bytes = size("bytes", raw.bytes.as_ref(), usual.bytes_max as u64)?;
    let limits = BatchLimits {
        rows_max: raw.records.unwrap_or(usual.rows_max),
        bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
    };
    if !(1..=65_536).contains(&limits.rows_max) || limits.bytes_max == 0 {
        return Err(Problem::new("batch", "`batch.records` is 1 to 65536 and `batch.bytes` at least 1"));
    }
    Ok(limits)
}

fn workers(raw: Option<u32>) -> Result<u32, Problem> {
    match raw.unwrap_or(1) {
        workers @ 1..=128 => Ok(workers),
        workers => Err(Problem::new(
            "workers",
            format!("`workers: {workers}` is not between 1 and 128, the number of key groups"),
        )),
    }
}

fn time_ms(name: &str, value: Option<&Scalar>, usual: u64) -> Result<u64, Problem> {
    value.map_or(Ok(usual), |value| {
        units::time_us(value).map(|us| us / 1_000).map_err(|text| Problem::new(name, format!("`{name}`: {text}")))
    })
}

fn size(name: &str, value: Option<&Scalar>, usual: u64) -> Result<u64, Problem> {
    value.map_or(Ok(usual), |value| units::bytes(value).map_err(|text| Problem::new(name, format!("`{name}`: {text}"))))
}

impl Resolved {
    /// Id and topic of each source that is one.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Topic { topic, .. } => Some((source.id.as_str(), topic.as_str())),
            _ => None,
        })
    }
}
