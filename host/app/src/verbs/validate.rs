use crate::cli::Validate;
use crate::compose;
use crate::config::PipelineFile;
use crate::error::Outcome;

/// `millstream validate`.
pub(crate) fn validate(arguments: &Validate) -> Outcome<()> {
    let file = PipelineFile::read(&arguments.pipeline.file)?;
    let resolved = super::with_overrides(&file, &arguments.overrides)?;
    let loaded = compose::load(&file, &resolved)?;
    if !arguments.offline {
        compose::connect(&resolved, compose::Missing::Report)?;
    }
    let plan = &loaded.plan;
    anstream::println!(
        "{} is fine: {} source(s), {} operator(s), {} sink(s)",
        plan.id,
        plan.sources.len(),
        plan.operators.len(),
        plan.sinks.len()
    );
    Ok(())
}
