//! What a pipeline's commits topic says, for whoever only looks.

use crate::error::{Failure, Outcome};
use millstream_engine::commit::Found;
use millstream_engine::commit::codec::decode_entry;
use millstream_engine::ports::{CommitsKey, LogError};
use millstream_kafka::{KafkaCluster, Properties, commits_topic, read_commits, read_stable_commits};
use millstream_model::commit::CommitsEntry;

/// Everything that is visible in the commits topic, in order; nothing if there is no such topic.
pub(crate) fn entries(properties: &Properties, id: &str) -> Outcome<Vec<CommitsEntry>> {
    read(properties, id, read_commits)
}

/// The newest of each key.
pub(crate) fn newest(properties: &Properties, id: &str) -> Outcome<Found> {
    Ok(Found::newest(entries(properties, id)?))
}

/// The same before a start. What died may have left a transaction open, which the start that follows ends: waiting for it here would take until the broker
/// gives it up.
pub(crate) fn newest_stable(properties: &Properties, id: &str) -> Outcome<Found> {
    Ok(Found::newest(read(properties, id, read_stable_commits)?))
}

type Entries = Vec<(CommitsKey, Vec<u8>)>;

fn read(
    properties: &Properties,
    id: &str,
    read: impl Fn(&Properties, &str) -> Result<Entries, LogError>,
) -> Outcome<Vec<CommitsEntry>> {
    let cluster = KafkaCluster::connect(properties).map_err(Failure::config)?;
    if !cluster.has_topic(&commits_topic(id)) {
        return Ok(Vec::new());
    }
    let entries = read(properties, id).map_err(Failure::failed)?;
    let decoded = entries.iter().map(|(key, value)| decode_entry(*key, value));
    decoded
        .collect::<Result<_, _>>()
        .map_err(|error| Failure::failed(format!("topic `{}`: {error}", commits_topic(id))))
}
