use crate::cli::Reset;
use crate::config::PipelineFile;
use crate::error::{Failure, Outcome};
use millstream_kafka::{KafkaCluster, commits_topic};
use millstream_state::StateDir;

/// `millstream reset`: a new history, with a changelog of its own. Whoever still runs the old one finds its commits topic gone and stops.
pub(crate) fn reset(arguments: &Reset) -> Outcome<()> {
    let file = PipelineFile::read(&arguments.pipeline.file)?;
    let resolved = super::with_overrides(&file, &arguments.overrides)?;
    let id = &resolved.id;
    if arguments.yes.as_deref() != Some(id) {
        return Err(Failure::config(format!(
            "this drops the state and the positions of pipeline `{id}`, and what it writes from then on may repeat what it has written: say `--yes {id}` if that is meant"
        )));
    }
    // Nobody may be running on the directory.
    let directory = StateDir::take(&resolved.state_dir, id).map_err(Failure::config)?;
    if let Some(properties) = &resolved.kafka {
        let cluster = KafkaCluster::connect(properties).map_err(Failure::config)?;
        if arguments.to_group_offsets {
            return Err(Failure::config("--to-group-offsets is not there yet: give the source a `start` instead"));
        }
        let number = crate::history::changelog_number(properties, id)?;
        let changelog = millstream_kafka::changelog_topic(id, number);
        cluster.delete_topics(&[&commits_topic(id), &changelog]).map_err(Failure::failed)?;
    }
    directory.reset().map_err(Failure::failed)?;
    anstream::println!("{id} begins anew at the next run");
    Ok(())
}
