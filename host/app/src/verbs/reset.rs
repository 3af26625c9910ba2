use crate::cli::Reset;
use crate::compose;
use crate::config::{PipelineFile, Resolved, SinkKind};
use crate::error::{Failure, Outcome};
use crate::{history, paths};
use millstream_engine::commit::NewHistory;
use millstream_engine::ports::SystemClock;
use millstream_kafka::{KafkaCluster, KafkaLog, LogSettings, Properties, changelog_topic, group_offsets};
use millstream_model::commit::{PartitionPosition, TopicIdentity};
use millstream_model::ids::Lineage;
use millstream_state::StateDir;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// `millstream reset`: a new history, with a changelog of its own. Topics of the old one stay; whoever still runs it is fenced.
pub(crate) fn reset(arguments: &Reset) -> Outcome<()> {
    let file = PipelineFile::read(&arguments.pipeline.file)?;
    let resolved = super::with_overrides(&file, &arguments.overrides)?;
    let id = &resolved.id;
    if arguments.yes.as_deref() != Some(id) {
        return Err(Failure::config(format!(
            "this drops the state and the positions of pipeline `{id}`, and what it writes from then on may repeat what it has written: say `--yes {id}` if that is meant"
        )));
    }
    if arguments.to_group_offsets && resolved.topics().next().is_none() {
        return Err(Failure::config(format!(
            "--to-group-offsets: pipeline `{id}` reads no topic, and only topics have group offsets"
        )));
    }
    // Nobody may be running on the directory.
    let directory = StateDir::take(&resolved.state_dir, id).map_err(|error| Failure::of_directory(&error))?;
    let mut changelog = None;
    if let (Some(cluster), Some(properties)) = (compose::connect(&resolved, compose::Missing::Leave)?, &resolved.kafka)
    {
        changelog = Some(begin(&resolved, properties, &cluster, arguments.to_group_offsets)?);
    }
    directory.reset().map_err(Failure::failed)?;
    for sink in &resolved.sinks {
        if let SinkKind::File { path, .. } = &sink.kind {
            set_aside(path)?;
        }
    }
    anstream::println!("{id} begins anew at the next run");
    if let Some(number) = changelog {
        let old = (0..number).map(|number| changelog_topic(id, number)).collect::<Vec<_>>();
        if !old.is_empty() {
            anstream::println!("not needed any more, and yours to delete: {}", old.join(", "));
        }
    }
    Ok(())
}

/// A sink's file belongs to the history that wrote it; it stays under another name.
fn set_aside(path: &Path) -> Outcome<()> {
    if std::fs::metadata(path).map_or(0, |metadata| metadata.len()) == 0 {
        return Ok(());
    }
    let aside = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".before-reset-{number}"));
        PathBuf::from(name)
    };
    let Some(aside) = (1..u32::MAX).map(aside).find(|aside| !aside.exists()) else { return Ok(()) };
    std::fs::rename(path, &aside)
        .map_err(|cause| Failure::failed(format!("{}: cannot be renamed: {cause}", path.display())))?;
    anstream::println!("{} is {} now", path.display(), aside.display());
    Ok(())
}

/// Writes the beginning of the new history; returns the number of its changelog.
fn begin(
    resolved: &Resolved,
    properties: &Properties,
    cluster: &KafkaCluster,
    is_at_group_offsets: bool,
) -> Outcome<u32> {
    let id = &resolved.id;
    let used = history::newest(properties, id)?.open.map(|open| open.changelog + 1).unwrap_or(0);
    // A changelog that somebody left behind would become the state of the new history.
    let number = (used..).find(|number| !cluster.has_topic(&changelog_topic(id, *number))).unwrap_or(used);
    let (topics, positions) =
        if is_at_group_offsets { at_group_offsets(resolved, properties, cluster)? } else { Default::default() };
    let cluster_id = cluster.id().map_err(Failure::config)?;
    cluster.ensure_internal_topics(id, number).map_err(Failure::config)?;
    let history = NewHistory {
        lineage: Lineage(uuid::Uuid::new_v4().into_bytes()),
        changelog: number,
        cluster_id,
        host: paths::host_name(),
        pid: std::process::id(),
        topics,
        positions,
    };
    let settings = LogSettings {
        id: id.clone(),
        changelog: number,
        sinks: Vec::new(),
        transaction_timeout_ms: resolved.commit.transaction_timeout_ms,
    };
    let mut log = KafkaLog::new(properties, settings);
    history.begin(&mut log, &SystemClock::default()).map_err(Failure::failed)?;
    Ok(number)
}

type Positions = (BTreeMap<String, TopicIdentity>, Vec<PartitionPosition>);

/// Where the group is in each topic. Partitions without an offset begin as the pipeline file says.
fn at_group_offsets(resolved: &Resolved, properties: &Properties, cluster: &KafkaCluster) -> Outcome<Positions> {
    let (mut topics, mut positions) = (BTreeMap::new(), Vec::new());
    for (source, topic) in resolved.topics() {
        topics.insert(source.to_owned(), cluster.topic(topic).map_err(Failure::config)?);
        for (partition, offset) in group_offsets(properties, &resolved.id, topic).map_err(Failure::failed)? {
            positions.push(PartitionPosition {
                source: source.to_owned(),
                partition,
                from: offset,
                next: offset,
                leader_epoch: -1,
                timestamp_ms_max: None,
                idle: false,
            });
        }
    }
    if positions.is_empty() {
        return Err(Failure::config(format!(
            "--to-group-offsets: group `{}` has no offsets; set them with Kafka's `kafka-consumer-groups.sh --reset-offsets` first, or reset without this flag",
            resolved.id
        )));
    }
    Ok((topics, positions))
}
