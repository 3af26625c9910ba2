use crate::cli::{Checkpoint as Verb, Format, Reading};
use crate::compose;
use crate::config::PipelineFile;
use crate::error::{Failure, Outcome};
use comfy_table::Table;
use millstream_state::{Checkpoint, CheckpointStore, Listed};
use serde_json::{Value, json};
use std::path::Path;

/// `millstream checkpoint`.
pub(crate) fn checkpoint(verb: Verb) -> Outcome<()> {
    match verb {
        Verb::List(reading) => list(&reading),
        Verb::Inspect { path, output } => inspect(&path, output),
        Verb::Verify { path } => verify(&path),
    }
}

fn list(reading: &Reading) -> Outcome<()> {
    let file = PipelineFile::read(&reading.pipeline.file)?;
    let resolved = super::with_overrides(&file, &reading.overrides)?;
    let listed = listed(&compose::checkpoints_place(&resolved))?;
    if reading.output == Format::Json {
        let rows: Vec<_> = listed.iter().map(|(path, listed)| row(path, listed)).collect();
        return super::print_json(&rows);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["path", "kind", "commit", "bytes"]);
    for (path, listed) in &listed {
        match &listed.checkpoint {
            Ok(checkpoint) => {
                let commit = checkpoint.commit.token.to_string();
                table.add_row([path.clone(), format!("{:?}", checkpoint.kind), commit, checkpoint.bytes().to_string()])
            }
            Err(error) => table.add_row([path.clone(), "unusable".to_owned(), error.to_string(), String::new()]),
        };
    }
    anstream::println!("{table}");
    Ok(())
}

/// What lies in a directory, with locations. To look makes no directory: before the first checkpoint there is none.
fn listed(directory: &Path) -> Outcome<Vec<(String, Listed)>> {
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let place = CheckpointStore::in_directory(directory).map_err(Failure::failed)?;
    let listed = place.list().map_err(Failure::failed)?;
    Ok(listed.into_iter().map(|listed| (place.location(&listed.name), listed)).collect())
}

fn row(path: &str, listed: &Listed) -> Value {
    match &listed.checkpoint {
        Ok(checkpoint) => facts(path, checkpoint),
        Err(error) => json!({ "path": path, "name": listed.name, "error": error.to_string() }),
    }
}

fn facts(path: &str, checkpoint: &Checkpoint) -> Value {
    json!({
        "path": path,
        "name": checkpoint.name,
        "pipeline": checkpoint.pipeline,
        "kind": format!("{:?}", checkpoint.kind).to_lowercase(),
        "taken_ms": checkpoint.taken_ms,
        "commit": checkpoint.commit.token.to_string(),
        "positions": checkpoint.commit.positions,
        "bytes": checkpoint.bytes(),
        "files": checkpoint.files.len(),
    })
}

fn inspect(path: &Path, output: Format) -> Outcome<()> {
    let (place, name) = CheckpointStore::locate(path).map_err(Failure::failed)?;
    let checkpoint = place.inspect(&name).map_err(Failure::failed)?;
    let facts = facts(&place.location(&name), &checkpoint);
    if output == Format::Json {
        return super::print_json(&facts);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    for (fact, value) in facts.as_object().into_iter().flatten().filter(|(fact, _)| *fact != "positions") {
        table.add_row([fact.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned)]);
    }
    for position in &checkpoint.commit.positions {
        let place = format!("{} [{}] next {}", position.source, position.partition, position.next);
        table.add_row(["position".to_owned(), place]);
    }
    anstream::println!("{table}");
    Ok(())
}

fn verify(path: &Path) -> Outcome<()> {
    let (place, name) = CheckpointStore::locate(path).map_err(Failure::failed)?;
    let checkpoint = place.verify(&name).map_err(Failure::failed)?;
    anstream::println!("{name} is whole: {} bytes", checkpoint.bytes());
    Ok(())
}
