//! From the pipeline file as it is written to one where nothing is left to be read: no text that stands for a number, no name of something that is not there.

mod operator;
mod settings;
mod sink;
mod source;
mod time;
mod window;

pub(crate) use operator::OperatorSpec;
pub(crate) use settings::CheckpointSpec;
pub(crate) use sink::{SinkKind, SinkSpec};
pub(crate) use source::{SourceKind, SourceSpec};

use super::raw::{self, Scalar};
use super::{Place, Problem, nearest};
use millstream_kafka::Properties;
use millstream_model::limits::BatchLimits;
use millstream_model::plan::CommitSettings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

impl Resolved {
    /// Id and topic of each source that is one.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (&str, &str)> {
        self.sources.iter().filter_map(|source| match &source.kind {
            SourceKind::Topic { topic, .. } => Some((source.id.as_str(), topic.as_str())),
            _ => None,
        })
    }
}

/// Checks a pipeline file; relative paths begin at `folder`.
pub(super) fn resolve(raw: &raw::Pipeline, folder: &Path) -> Result<Resolved, Problem> {
    check_ids(raw)?;
    let kafka = raw.kafka.as_ref().map(|given| kafka(given, folder)).transpose()?;
    let has_dead_letters = raw.dead_letters.is_some();
    let sources = raw.sources.iter().map(|(id, source)| source::source(id, source, folder, has_dead_letters));
    let sources = sources.collect::<Result<Vec<_>, _>>()?;
    let operators = raw.operators.iter().map(|(id, operator)| operator::operator(id, operator, has_dead_letters));
    let operators = operators.collect::<Result<Vec<_>, _>>()?;
    let sinks = raw.sinks.iter().map(|(id, sink)| sink::sink(id, sink, folder));
    let mut sinks = sinks.collect::<Result<Vec<_>, _>>()?;
    check_graph(raw)?;
    let mut dead_letters = None;
    if let Some(letters) = &raw.dead_letters {
        dead_letters = u16::try_from(sinks.len()).ok();
        sinks.push(sink::dead_letters(letters, folder)?);
    }
    check_kafka(&sources, &sinks, kafka.is_some())?;
    check_guarantee(&sources, raw.guarantee)?;
    let state_dir = raw.state.dir.clone().unwrap_or_else(|| format!("./state/{}", raw.id));
    let (commit, batch) = (settings::commit(&raw.commit)?, settings::batch(&raw.batch)?);
    if kafka.is_some() {
        operator::check_times(&operators, &batch, &commit)?;
    }
    Ok(Resolved {
        id: raw.id.clone(),
        kafka,
        sources,
        operators,
        sinks,
        dead_letters,
        commit,
        state_dir: folder.join(state_dir),
        state_memory_bytes: settings::state_memory_bytes(&raw.state)?,
        checkpoint: settings::checkpoint(&raw.checkpoint, folder)?,
        workers: settings::workers(raw.workers)?,
        batch,
    })
}

fn check_ids(raw: &raw::Pipeline) -> Result<(), Problem> {
    check_id("id", &raw.id, &Place::at("id"))?;
    let sources = raw.sources.keys().map(|id| (id, "sources"));
    let operators = raw.operators.keys().map(|id| (id, "operators"));
    let sinks = raw.sinks.keys().map(|id| (id, "sinks"));
    for (id, group) in sources.chain(operators).chain(sinks) {
        check_id("an id", id, &Place::at(group).field(id))?;
    }
    for (group, is_empty) in [("sources", raw.sources.is_empty()), ("sinks", raw.sinks.is_empty())] {
        if is_empty {
            return Err(Problem::new(&Place::at(group), "a pipeline needs at least one source and one sink"));
        }
    }
    match raw.operators.keys().find(|id| raw.sources.contains_key(*id)) {
        Some(id) => Err(Problem::new(
            &Place::at("operators").field(id),
            format!("`{id}` is both a source and an operator, so `inputs` could mean either: rename one"),
        )),
        None => Ok(()),
    }
}

fn check_id(what: &str, id: &str, place: &Place) -> Result<(), Problem> {
    let is_good = |character: char| character.is_ascii_alphanumeric() || character == '-' || character == '_';
    if id.is_empty() || id.len() > 100 || !id.chars().all(is_good) {
        let text = format!(
            "{what} is `{id}`: ids have 1 to 100 letters, digits, `-` and `_`, since they name topics and files"
        );
        return Err(Problem::new(place, text));
    }
    Ok(())
}

fn kafka(raw: &BTreeMap<String, Scalar>, folder: &Path) -> Result<Properties, Problem> {
    let place = Place::at("kafka");
    let mut given = BTreeMap::new();
    for (name, value) in raw {
        let value = secret(&value.text(), folder)
            .map_err(|text| Problem::new(&place.field(name), format!("kafka property `{name}`: {text}")))?;
        given.insert(name.clone(), value);
    }
    let Some(brokers) = given.remove("brokers").filter(|brokers| !brokers.trim().is_empty()) else {
        let text = "`kafka` needs `brokers`, like `kafka: { brokers: \"localhost:9092\" }`";
        return Err(Problem::new(&place.field("brokers"), text));
    };
    // The one that is refused: properties are checked one by one.
    let refused = |name: &String, value: &String| {
        let only = BTreeMap::from([(name.clone(), value.clone())]);
        Properties::new(&brokers, only).err().map(|error| Problem::new(&place.field(name), error.to_string()))
    };
    match given.iter().find_map(|(name, value)| refused(name, value)) {
        Some(problem) => Err(problem),
        None => Properties::new(&brokers, given).map_err(|error| Problem::new(&place, error.to_string())),
    }
}

/// `env:NAME` and `file:PATH` stand for a secret that is not in the file.
#[expect(clippy::disallowed_methods, reason = "secrets are where the file says, the environment included")]
fn secret(value: &str, folder: &Path) -> Result<String, String> {
    if let Some(name) = value.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| format!("the environment variable {name} is not set"));
    }
    if let Some(path) = value.strip_prefix("file:") {
        let path = folder.join(path);
        let text = std::fs::read_to_string(&path)
            .map_err(|cause| format!("file {} cannot be read: {cause}", path.display()))?;
        return Ok(text.trim_end_matches(['\r', '\n']).to_owned());
    }
    Ok(value.to_owned())
}

/// Checks that what is read is there, and that what is there is read; names of outputs are checked when the modules are known.
fn check_graph(raw: &raw::Pipeline) -> Result<(), Problem> {
    let operators = raw.operators.iter().map(|(id, operator)| ("operator", "operators", id, &operator.inputs));
    let sinks = raw.sinks.iter().map(|(id, sink)| ("sink", "sinks", id, &sink.inputs));
    for (kind, group, id, inputs) in operators.chain(sinks) {
        check_inputs(&format!("{kind} `{id}`"), inputs, raw, &Place::at(group).field(id).field("inputs"))?;
    }
    let inputs =
        raw.operators.values().map(|operator| &operator.inputs).chain(raw.sinks.values().map(|sink| &sink.inputs));
    let read: Vec<&str> = inputs.flatten().map(|input| id_of(input)).collect();
    match raw.sources.keys().find(|id| !read.contains(&id.as_str())) {
        Some(id) => Err(Problem::new(
            &Place::at("sources").field(id),
            format!("nobody reads source `{id}`: name it in the `inputs` of an operator or a sink, or remove it"),
        )),
        None => Ok(()),
    }
}

/// The source or operator of `id` or `id.output`.
pub(crate) fn id_of(input: &str) -> &str {
    input.split_once('.').map_or(input, |(id, _)| id)
}

fn check_inputs(who: &str, inputs: &[String], raw: &raw::Pipeline, place: &Place) -> Result<(), Problem> {
    if inputs.is_empty() {
        return Err(Problem::new(place, format!("{who} has no `inputs`: name a source or an operator")));
    }
    for (position, input) in inputs.iter().enumerate() {
        let (id, place) = (id_of(input), place.item(position));
        if raw.sources.contains_key(id) || raw.operators.contains_key(id) {
            continue;
        }
        let names = raw.sources.keys().chain(raw.operators.keys()).map(String::as_str);
        let hint = nearest(id, names).map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
        let text = format!("{who} reads `{input}`, and there is no such source or operator{hint}");
        return Err(Problem::new(&place, text));
    }
    Ok(())
}

fn check_kafka(sources: &[SourceSpec], sinks: &[SinkSpec], has_kafka: bool) -> Result<(), Problem> {
    let sources = sources.iter().filter(|source| matches!(source.kind, SourceKind::Topic { .. }));
    let sources = sources.map(|source| (&source.id, Place::at("sources").field(&source.id)));
    let sinks = sinks.iter().filter(|sink| matches!(sink.kind, SinkKind::Topic { .. }));
    let sinks = sinks.map(|sink| (&sink.id, sink.place()));
    match sources.chain(sinks).next() {
        Some((id, place)) if !has_kafka => {
            let text = format!("`{id}` is a topic and the pipeline has no `kafka: {{ brokers: … }}`");
            Err(Problem::new(&place.field("topic"), text))
        }
        _ => Ok(()),
    }
}

/// Refuses to call exactly once what cannot be.
fn check_guarantee(sources: &[SourceSpec], guarantee: Option<raw::Guarantee>) -> Result<(), Problem> {
    let stdin = sources.iter().find(|source| matches!(source.kind, SourceKind::Stdin { .. }));
    match stdin {
        Some(source) if guarantee != Some(raw::Guarantee::BestEffort) => Err(Problem::new(
            &Place::at("sources").field(&source.id),
            format!(
                "source `{}` is standard input, which cannot be read again after a crash: exactly once is impossible; say `guarantee: best_effort` if that is fine",
                source.id
            ),
        )),
        _ => Ok(()),
    }
}
