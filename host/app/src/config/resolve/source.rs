use super::settings::{positive, size};
use super::time;
use crate::config::raw::{self, Format, Scalar};
use crate::config::{Place, Problem};
use millstream_connect::{
    EventTimeAt, FileSourceSettings, LineFormat, MissingFile, NexmarkKey, NexmarkSettings, Pointer,
};
use millstream_kafka::{OnDataLoss, Start, Stop};
use millstream_model::plan::SourceTime;
use std::path::Path;

/// A source.
#[derive(Debug, Clone)]
pub(crate) struct SourceSpec {
    pub(crate) id: String,
    pub(crate) kind: SourceKind,
    pub(crate) time: SourceTime,
    /// Where the event time is, if it is not the source's own timestamp.
    pub(crate) event_time: Option<EventTimeAt>,
}

/// What a source reads.
#[derive(Debug, Clone)]
pub(crate) enum SourceKind {
    Topic { topic: String, start: Start, stop: Option<Stop>, on_data_loss: OnDataLoss, read_uncommitted: bool },
    File { paths: Vec<String>, settings: FileSourceSettings },
    Stdin { format: LineFormat },
    Nexmark(NexmarkSettings),
}

/// Checks a source.
pub(super) fn source(
    id: &str,
    raw: &raw::Source,
    folder: &Path,
    has_dead_letters: bool,
) -> Result<SourceSpec, Problem> {
    let place = Place::at("sources").field(id);
    let given = [raw.topic.is_some(), raw.file.is_some(), raw.stdin == Some(true), raw.nexmark.is_some()];
    if given.iter().filter(|given| **given).count() != 1 || raw.stdin == Some(false) {
        let text = format!("source `{id}` needs exactly one of `topic`, `file`, `stdin: true`, `nexmark`");
        return Err(Problem::new(&place, text));
    }
    check_fields(id, raw, &place)?;
    let kind = if let Some(topic) = &raw.topic {
        SourceKind::Topic {
            topic: topic.clone(),
            start: raw.start.as_ref().map_or(Ok(Start::Earliest), |value| start(id, value, &place))?,
            stop: raw.stop.as_ref().map(|value| stop(id, value, &place)).transpose()?,
            on_data_loss: match raw.on_data_loss {
                None | Some(raw::DataLoss::Stop) => OnDataLoss::Stop,
                Some(raw::DataLoss::Earliest) => OnDataLoss::Earliest,
            },
            read_uncommitted: raw.isolation == Some(raw::Isolation::ReadUncommitted),
        }
    } else if let Some(paths) = &raw.file {
        let paths = paths.list().iter().map(|path| folder.join(path).display().to_string()).collect();
        SourceKind::File { paths, settings: file_settings(id, raw, &place)? }
    } else if let Some(nexmark) = &raw.nexmark {
        SourceKind::Nexmark(nexmark_settings(id, nexmark, &place.field("nexmark"))?)
    } else {
        SourceKind::Stdin { format: line_format(id, raw, &place)? }
    };
    let event_time = time::event_time(id, raw, &place)?;
    let time = time::source_time(id, raw, &place, has_dead_letters)?;
    Ok(SourceSpec { id: id.to_owned(), kind, time, event_time })
}

/// Refuses fields that say nothing about a source of this kind.
fn check_fields(id: &str, raw: &raw::Source, place: &Place) -> Result<(), Problem> {
    let has_lines = raw.file.is_some() || raw.stdin.is_some();
    let is_json = raw.format == Some(Format::JsonLines);
    let fields = [
        ("start", raw.start.is_some(), raw.topic.is_some(), "topics"),
        ("stop", raw.stop.is_some(), raw.topic.is_some(), "topics"),
        ("on_data_loss", raw.on_data_loss.is_some(), raw.topic.is_some(), "topics"),
        ("isolation", raw.isolation.is_some(), raw.topic.is_some(), "topics"),
        ("format", raw.format.is_some(), has_lines, "files and standard input"),
        ("follow", raw.follow.is_some(), raw.file.is_some(), "files"),
        ("missing_file", raw.missing_file.is_some(), raw.file.is_some(), "files"),
        ("record_bytes_max", raw.record_bytes_max.is_some(), raw.file.is_some(), "files"),
        ("key", raw.key.is_some(), is_json, "`format: json_lines`"),
        ("timestamp: kafka", is_text(raw, |text| text == "kafka"), raw.topic.is_some(), "topics"),
        (
            "timestamp",
            is_text(raw, |text| text != "kafka"),
            is_json,
            "`format: json_lines`; elsewhere write `timestamp: { pointer: … }`",
        ),
    ];
    match fields.iter().find(|(_, is_given, fits, _)| *is_given && !*fits) {
        Some((name, _, _, what)) => {
            Err(Problem::new(&place.field(name), format!("source `{id}`: `{name}` is for {what}")))
        }
        None => Ok(()),
    }
}

fn is_text(raw: &raw::Source, is_it: impl Fn(&str) -> bool) -> bool {
    matches!(&raw.timestamp, Some(raw::Timestamp::Text(text)) if is_it(text))
}

fn stop(id: &str, value: &Scalar, place: &Place) -> Result<Stop, Problem> {
    let text = value.text();
    if text == "latest" {
        return Ok(Stop::Latest);
    }
    if let Some(time) = text.strip_prefix("timestamp:").and_then(|time| time.parse().ok()) {
        return Ok(Stop::Timestamp(time));
    }
    if let Some(offset) = text.strip_prefix("offset:").unwrap_or(&text).parse().ok().filter(|offset| *offset >= 0) {
        return Ok(Stop::Offset(offset));
    }
    let help = "write `latest`, `offset:N`, or `timestamp:N` in milliseconds since 1970";
    let text = format!("source `{id}`: `stop: {text}` is no place to end: {help}");
    Err(Problem::new(&place.field("stop"), text))
}

fn start(id: &str, value: &Scalar, place: &Place) -> Result<Start, Problem> {
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
    let text = format!("source `{id}`: `start: {text}` is no place to begin: {help}");
    Err(Problem::new(&place.field("start"), text))
}

fn file_settings(id: &str, raw: &raw::Source, place: &Place) -> Result<FileSourceSettings, Problem> {
    let usual = FileSourceSettings::new(id);
    let bytes = size(&place.field("record_bytes_max"), raw.record_bytes_max.as_ref(), usual.record_bytes_max as u64)?;
    Ok(FileSourceSettings {
        format: line_format(id, raw, place)?,
        follow: raw.follow.unwrap_or(false),
        missing_file: match raw.missing_file {
            None | Some(raw::MissingFile::Stop) => MissingFile::Stop,
            Some(raw::MissingFile::Skip) => MissingFile::Skip,
        },
        record_bytes_max: usize::try_from(bytes).unwrap_or(usize::MAX),
        ..usual
    })
}

fn line_format(id: &str, raw: &raw::Source, place: &Place) -> Result<LineFormat, Problem> {
    let pointer = |name: &str, text: &Option<String>| {
        let parsed = text.as_ref().map(|text| {
            text.parse::<Pointer>()
                .map_err(|error| Problem::new(&place.field(name), format!("source `{id}`: `{name}`: {error}")))
        });
        parsed.transpose()
    };
    match raw.format {
        Some(Format::JsonLines) => Ok(LineFormat::JsonLines {
            key: pointer("key", &raw.key)?,
            timestamp: match &raw.timestamp {
                Some(raw::Timestamp::Text(text)) => pointer("timestamp", &Some(text.clone()))?,
                _ => None,
            },
        }),
        _ => Ok(LineFormat::Lines),
    }
}

fn nexmark_settings(id: &str, raw: &raw::Nexmark, place: &Place) -> Result<NexmarkSettings, Problem> {
    let mut settings = NexmarkSettings::new(id);
    if let Some(seed) = raw.seed {
        settings.events.seed = seed;
    }
    settings.partitions = positive(&place.field("partitions"), raw.partitions, 1)?;
    settings.events_max = raw.events;
    settings.events_per_second = raw.rate.map(|rate| positive(&place.field("rate"), Some(rate), 1)).transpose()?;
    settings.key = match raw.key {
        None | Some(raw::NexmarkKey::None) => NexmarkKey::None,
        Some(raw::NexmarkKey::Auction) => NexmarkKey::Auction,
        Some(raw::NexmarkKey::Bidder) => NexmarkKey::Bidder,
        Some(raw::NexmarkKey::Type) => NexmarkKey::Type,
    };
    Ok(settings)
}
