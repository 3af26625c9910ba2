use crate::api::{Door, Running};
use crate::cli::Run;
use crate::compose::{self, Choice, Past, RunOptions, Workshop};
use crate::config::{PipelineFile, listen_address};
use crate::error::{Failure, Outcome};
use crate::metrics;
use crate::modules::Modules;
use crate::progress::{ProgressLine, Snapshot};
use crate::staging::{Background, Staging, StagingParts};
use crate::{deploys, signals, watch};
use millstream_engine::run::{self, Board, Control, RunEnd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `millstream run`.
pub(crate) fn run(arguments: &Run) -> Outcome<()> {
    let file = pipeline_file(arguments)?;
    if arguments.print {
        anstream::print!("{}", file.text());
        return Ok(());
    }
    let mut resolved = super::with_overrides(&file, &arguments.overrides)?;
    if let Some(listen) = &arguments.listen {
        let listen = listen_address(listen).map_err(|text| Failure::config(format!("--listen: {text}")))?;
        resolved.api.listen = listen;
    }
    let options = RunOptions {
        from_checkpoint: arguments.from_checkpoint.clone(),
        ignore_group_offsets: arguments.ignore_group_offsets,
    };
    let metrics = arguments.metrics.map(|address| metrics::Door::take(address, &arguments.metrics_host)).transpose()?;
    let workshop = Workshop::new(&file, &resolved)?;
    let wanted = workshop.wanted(&file, &resolved)?;
    let cluster = compose::connect(&resolved, compose::Missing::Create)?;
    let outside = compose::open_state(&resolved, cluster, &options)?;
    let past = Past::read(&resolved, &outside)?;
    let modules = Modules::of(&resolved, &outside)?;
    let choice = Choice { file: &file, resolved: &resolved, workshop: &workshop, modules: &modules, past: &past };
    let lineup = choice.choose(wanted)?;
    lineup.keep(&modules)?;
    let composed = compose::compose(&resolved, &lineup, &outside, &options)?;
    let plan = Arc::new(lineup.plan);
    let control = Arc::new(Control::new(Board::new(&plan)));
    signals::drain_on_signals(&control)?;
    let parts = StagingParts {
        workshop,
        specs: resolved.operators.clone(),
        modules,
        control: Arc::clone(&control),
        background: Background::new()?,
    };
    let staging = Arc::new(Staging::new(parts, &lineup.running));
    // Their bytes are kept elsewhere by now.
    drop(lineup.running);
    let running = Running::new(Arc::clone(&plan), Arc::clone(&control), Arc::clone(&staging));
    let door = Door::open(&outside.directory, &resolved.api, running)?;
    if let Some(metrics) = metrics {
        metrics.serve(Arc::clone(&plan), &control)?;
    }
    deploys::deploy(&staging, lineup.deploys)?;
    let _watching = arguments.watch.then(|| watch::watch(&file, &resolved, &staging)).transpose()?;
    tracing::info!(pipeline = plan.id, state = %outside.directory.path().display(), "starting");
    let line = ProgressLine::show(&plan, &control);
    let ended = run::run(Arc::clone(&plan), composed.ports, composed.identity, composed.settings, &control);
    drop(line);
    drop(door);
    let end = ended?;
    summarize(end, &Snapshot::of(&plan, &control));
    Ok(())
}

fn summarize(end: RunEnd, last: &Snapshot) {
    let what = match end {
        RunEnd::Drained => "drained",
        RunEnd::Finished => "finished",
        RunEnd::AlreadyFinished => "was finished before",
    };
    anstream::eprintln!(
        "{} {what}: {} records in, {} out, {} commits{}",
        last.id,
        last.records_in(),
        last.records_out(),
        last.commit.commits,
        last.commit.token.as_ref().map(|token| format!(", the last is {token}")).unwrap_or_default()
    );
}

/// The file, or the one that flags stand for.
fn pipeline_file(arguments: &Run) -> Outcome<PipelineFile> {
    match (&arguments.from, &arguments.to) {
        (Some(from), Some(to)) => PipelineFile::parse(Path::new("(flags)"), &from_flags(arguments, from, to)?),
        _ => {
            let path = arguments.file.clone().unwrap_or_else(|| PathBuf::from("pipeline.yaml"));
            PipelineFile::read(&path)
        }
    }
}

/// The pipeline file that flags stand for.
fn from_flags(arguments: &Run, from: &str, to: &str) -> Outcome<String> {
    let id = arguments.overrides.id.clone().unwrap_or_else(|| "one-line".to_owned());
    let (source, from_brokers) = end("--from", from)?;
    let (sink, to_brokers) = end("--to", to)?;
    if let (Some(from), Some(to)) = (&from_brokers, &to_brokers)
        && from != to
    {
        return Err(Failure::config(format!(
            "--from is on {from} and --to on {to}: one transaction cannot span two clusters, so exactly once is impossible"
        )));
    }
    let mut text = format!("id: {id}\n");
    if let Some(brokers) = from_brokers.or(to_brokers) {
        text += &format!("kafka: {{ brokers: {brokers:?} }}\n");
    }
    text += &format!("sources:\n  from: {{ {source} }}\n");
    let mut last = "from".to_owned();
    if !arguments.operators.is_empty() {
        text += "operators:\n";
    }
    for (number, module) in (1..).zip(&arguments.operators) {
        let key_by =
            if arguments.key_by.is_some() && number == arguments.operators.len() { ", key_by: key" } else { "" };
        text += &format!("  operator-{number}: {{ module: {module:?}, inputs: [{last}]{key_by} }}\n");
        last = format!("operator-{number}");
    }
    text += &format!("sinks:\n  to: {{ {sink}, inputs: [{last}] }}\n");
    if source.starts_with("stdin") {
        text += "guarantee: best_effort\n";
    }
    Ok(text)
}

/// A source or sink as a flag gives it, and its brokers.
fn end(flag: &str, given: &str) -> Outcome<(String, Option<String>)> {
    if let Some(rest) = given.strip_prefix("kafka://") {
        return match rest.split_once('/') {
            Some((brokers, topic)) if !brokers.is_empty() && !topic.is_empty() => {
                Ok((format!("topic: {topic:?}"), Some(brokers.to_owned())))
            }
            _ => Err(Failure::config(format!("{flag} {given}: write it like kafka://localhost:9092/topic"))),
        };
    }
    match given.split_once(':') {
        Some(("file", path)) => Ok((format!("file: {:?}", path.strip_prefix("//").unwrap_or(path)), None)),
        Some(("stdin", "")) => Ok(("stdin: true".to_owned(), None)),
        Some(("stdout", "")) => Ok(("stdout: true".to_owned(), None)),
        Some(("nexmark", "")) => Ok(("nexmark: {}".to_owned(), None)),
        _ => Err(Failure::config(format!(
            "{flag} {given}: use kafka://BROKERS/TOPIC, file://PATH, nexmark:, stdin: or stdout:"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::Parser;

    fn text(line: &str) -> String {
        let cli = crate::cli::Cli::try_parse_from(line.split(' ')).unwrap();
        let crate::cli::Verb::Run(run) = cli.verb else { unreachable!() };
        from_flags(&run, run.from.as_deref().unwrap(), run.to.as_deref().unwrap())
            .unwrap_or_else(|failure| failure.text)
    }

    #[test]
    fn flags_stand_for_a_pipeline_file() {
        let line = "millstream run --from kafka://h:9092/lines --operator ./split.wasm --key-by key --operator ./count.wasm --to kafka://h:9092/counts";
        assert_eq!(
            text(line),
            "id: one-line\nkafka: { brokers: \"h:9092\" }\nsources:\n  from: { topic: \"lines\" }\noperators:\n  \
             operator-1: { module: \"./split.wasm\", inputs: [from] }\n  \
             operator-2: { module: \"./count.wasm\", inputs: [operator-1], key_by: key }\n\
             sinks:\n  to: { topic: \"counts\", inputs: [operator-2] }\n"
        );
    }

    #[test]
    fn two_clusters_are_refused() {
        assert!(text("millstream run --from kafka://a/x --to kafka://b/y").contains("two clusters"));
        assert!(text("millstream run --from ftp://a --to stdout:").contains("--from ftp://a"));
    }
}
