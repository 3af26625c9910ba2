//! One module per verb of the command line.

pub(crate) mod build;
pub(crate) mod checkpoint;
pub(crate) mod inspect;
pub(crate) mod new;
pub(crate) mod plugin;
pub(crate) mod reset;
pub(crate) mod run;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod validate;
pub(crate) mod verify;

use crate::cli::{Cli, Overrides};
use crate::config::{PipelineFile, Resolved, raw};
use crate::error::{Failure, Outcome};
use clap::CommandFactory;
use serde::Serialize;

/// A pipeline file with what flags and environment say instead.
pub(crate) fn with_overrides(file: &PipelineFile, overrides: &Overrides) -> Outcome<Resolved> {
    let mut resolved = file.resolve()?;
    if let Some(id) = &overrides.id {
        file.rename(&mut resolved, id)?;
    }
    if let Some(dir) = &overrides.state_dir {
        resolved.state_dir.clone_from(dir);
    }
    Ok(resolved)
}

/// Writes a result for machines.
pub(crate) fn print_json(value: &impl Serialize) -> Outcome<()> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::failed)?;
    anstream::println!("{text}");
    Ok(())
}

/// `millstream completions`.
pub(crate) fn completions(shell: clap_complete::Shell) -> Outcome<()> {
    clap_complete::generate(shell, &mut Cli::command(), "millstream", &mut std::io::stdout());
    Ok(())
}

/// `millstream schema`.
pub(crate) fn schema() -> Outcome<()> {
    print_json(&schemars::schema_for!(raw::Pipeline))
}
