//! What is known of a pipeline's past before it is taken over.

use super::Outside;
use crate::config::Resolved;
use crate::error::{Failure, Outcome};
use crate::history;
use millstream_engine::commit::codec::{decode_commit, decode_open};
use millstream_engine::ports::{Meta, StateBackend};
use millstream_model::commit::{CommitRecord, OpenRecord};

/// The newest records of a pipeline. Whoever runs it may add to them until it is taken over.
#[derive(Debug, Default)]
pub(crate) struct Past {
    /// Of the last start.
    pub(crate) open: Option<OpenRecord>,
    /// Of the last epoch.
    pub(crate) commit: Option<CommitRecord>,
}

impl Past {
    /// Looks into the commits topic or, without one, into the store. A history that begins from a checkpoint has that as its past.
    pub(crate) fn read(resolved: &Resolved, outside: &Outside) -> Outcome<Self> {
        let mut past = match (&resolved.kafka, &outside.cluster) {
            (Some(properties), Some(_)) => {
                let found = history::newest_stable(properties, &resolved.id)?;
                Self { open: found.open, commit: found.commit }
            }
            _ if outside.begins_from_checkpoint => Self::default(),
            _ => Self { open: meta(outside, Meta::Open, decode_open)?, commit: None },
        };
        if past.commit.is_none() && (outside.cluster.is_none() || outside.begins_from_checkpoint) {
            past.commit = meta(outside, Meta::Applied, decode_commit)?;
        }
        Ok(past)
    }

    /// Number of the changelog topic in use: 0 for a new pipeline.
    pub(crate) fn changelog(&self) -> u32 {
        self.open.as_ref().map_or(0, |open| open.changelog)
    }
}

fn meta<T, E: std::fmt::Display>(
    outside: &Outside,
    name: Meta,
    decode: impl Fn(&[u8]) -> Result<T, E>,
) -> Outcome<Option<T>> {
    let bytes = outside.store.meta(name).map_err(Failure::failed)?;
    bytes.map(|bytes| decode(&bytes)).transpose().map_err(Failure::failed)
}
