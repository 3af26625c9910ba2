//! What a pipeline's commits topic says, for whoever only looks.

use crate::error::{Failure, Outcome};
use millstream_engine::commit::Found;
use millstream_engine::commit::codec::decode_entry;
use millstream_kafka::{KafkaCluster, Properties, commits_topic, read_commits};
use millstream_model::commit::CommitsEntry;

/// Everything that is visible in the commits topic, in order; nothing if there is no such topic.
pub(crate) fn entries(properties: &Properties, id: &str) -> Outcome<Vec<CommitsEntry>> {
    let cluster = KafkaCluster::connect(properties).map_err(Failure::config)?;
    if !cluster.has_topic(&commits_topic(id)) {
        return Ok(Vec::new());
    }
    let entries = read_commits(properties, id).map_err(Failure::failed)?;
    let decoded = entries.iter().map(|(key, value)| decode_entry(*key, value));
    decoded
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::failed(format!("topic `{}`: {error}", commits_topic(id))))
}

/// The newest of each key.
pub(crate) fn newest(properties: &Properties, id: &str) -> Outcome<Found> {
    Ok(Found::newest(entries(properties, id)?))
}

/// Number of the changelog topic in use: 0 for a new pipeline.
pub(crate) fn changelog_number(properties: &Properties, id: &str) -> Outcome<u32> {
    Ok(newest(properties, id)?.open.map_or(0, |open| open.changelog))
}
