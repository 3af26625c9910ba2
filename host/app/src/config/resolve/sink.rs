use crate::config::raw::{self, Format};
use crate::config::{Place, Problem};
use millstream_connect::SinkFormat;
use std::path::{Path, PathBuf};

/// Id of the sink that `dead_letters` stands for.
pub(super) const DEAD_LETTERS: &str = "dead_letters";

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

impl SinkSpec {
    /// Where it is in the pipeline file.
    pub(crate) fn place(&self) -> Place {
        if self.id == DEAD_LETTERS { Place::at(DEAD_LETTERS) } else { Place::at("sinks").field(&self.id) }
    }
}

/// Where a sink writes, as the file says it.
struct Given<'a> {
    topic: Option<&'a String>,
    file: Option<&'a String>,
    stdout: Option<bool>,
    create: Option<raw::Create>,
    format: Option<Format>,
}

/// The most partitions that a topic is made with: more would be a slip, and is no small thing to undo.
const PARTITIONS_MAX: i32 = 10_000;

/// Checks a sink.
pub(super) fn sink(id: &str, raw: &raw::Sink, folder: &Path) -> Result<SinkSpec, Problem> {
    let place = Place::at("sinks").field(id);
    if id == DEAD_LETTERS {
        let text = "a sink cannot be called `dead_letters`: that is the sink which `dead_letters:` stands for";
        return Err(Problem::new(&place, text));
    }
    let given = Given {
        topic: raw.topic.as_ref(),
        file: raw.file.as_ref(),
        stdout: raw.stdout,
        create: raw.create,
        format: raw.format,
    };
    if raw.format.is_some() && raw.topic.is_some() {
        let text = format!("sink `{id}`: `format` is for files and standard output");
        return Err(Problem::new(&place.field("format"), text));
    }
    Ok(SinkSpec {
        id: id.to_owned(),
        kind: kind(&format!("sink `{id}`"), &given, &place, folder)?,
        inputs: raw.inputs.clone(),
    })
}

/// Checks the sink that `dead_letters` stands for.
pub(super) fn dead_letters(raw: &raw::DeadLetters, folder: &Path) -> Result<SinkSpec, Problem> {
    let given = Given {
        topic: raw.topic.as_ref(),
        file: raw.file.as_ref(),
        stdout: raw.stdout,
        create: raw.create,
        format: Some(Format::JsonLines),
    };
    let kind = kind("`dead_letters`", &given, &Place::at(DEAD_LETTERS), folder)?;
    Ok(SinkSpec { id: DEAD_LETTERS.to_owned(), kind, inputs: Vec::new() })
}

fn kind(who: &str, given: &Given<'_>, place: &Place, folder: &Path) -> Result<SinkKind, Problem> {
    let format = if given.format == Some(Format::JsonLines) { SinkFormat::JsonLines } else { SinkFormat::Lines };
    if given.create.is_some() && given.topic.is_none() {
        return Err(Problem::new(&place.field("create"), format!("{who}: `create` is for topics")));
    }
    if let Some(create) = given.create.filter(|create| !(1..=PARTITIONS_MAX).contains(&create.partitions)) {
        let text = format!("{who}: `partitions: {}` is not between 1 and {PARTITIONS_MAX}", create.partitions);
        return Err(Problem::new(&place.field("create").field("partitions"), text));
    }
    match (given.topic, given.file, given.stdout) {
        (Some(topic), None, None) => {
            Ok(SinkKind::Topic { topic: topic.clone(), create: given.create.map(|create| create.partitions) })
        }
        (None, Some(file), None) => Ok(SinkKind::File { path: folder.join(file), format }),
        (None, None, Some(true)) => Ok(SinkKind::Stdout { format }),
        _ => Err(Problem::new(place, format!("{who} needs exactly one of `topic`, `file`, `stdout: true`"))),
    }
}
