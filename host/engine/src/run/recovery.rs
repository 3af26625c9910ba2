use super::RunError;
use super::board::RunPhase;
use super::coordinator::{Coordinator, OpenEpoch};
use crate::commit::{EpochLost, Resolution};
use crate::worker::{Command, Report};
use millstream_model::commit::CommitRecord;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The one failure path: stops the workers, finds out what became of the epoch, and lets them go on behind the newest commit. `Some`: the
/// epoch is committed all the same, and what the workers did since its cut stands.
pub(super) fn recover(coordinator: &mut Coordinator, lost: &EpochLost) -> Result<Option<CommitRecord>, RunError> {
    tracing::warn!(reason = %lost, "epoch could not be committed; finding out what became of it");
    coordinator.set_phase(RunPhase::Resolving);
    hold(coordinator)?;
    let resolution = coordinator.committer.resolve()?;
    let record = match resolution {
        Resolution::Committed(record) => Some(record),
        Resolution::RolledBack(record) => {
            roll_back(coordinator, record)?;
            None
        }
    };
    coordinator.tell_all(&Command::Resume);
    coordinator.set_phase(RunPhase::Running);
    Ok(record)
}

/// Has every worker stand still: nothing is under way any more.
pub(super) fn hold(coordinator: &mut Coordinator) -> Result<(), RunError> {
    coordinator.tell_all(&Command::Hold);
    wait_for_all(coordinator, |report| matches!(report, Report::Held))
}

/// Has the workers, who stand still, drop everything since the newest commit.
pub(super) fn roll_back(coordinator: &mut Coordinator, record: Option<CommitRecord>) -> Result<(), RunError> {
    coordinator.held.clear();
    coordinator.has_ended = false;
    let reset = Arc::new(coordinator.swaps.rolled_back(record));
    coordinator.tell_all(&Command::Reset(reset));
    wait_for_all(coordinator, |report| matches!(report, Report::Ready))?;
    // What is too large now was not when it was checked: the same again would be lost the same way.
    coordinator.sizes.refresh();
    let shared = &coordinator.shared;
    shared.output_bytes.store(0, Ordering::Relaxed);
    shared.board.update(|status| status.rollbacks += 1);
    let now_ms = shared.clock.monotonic_ms();
    coordinator.epoch = OpenEpoch::new(coordinator.workers(), coordinator.swaps.lineup().plan.sinks.len(), now_ms);
    Ok(())
}

/// Waits until every worker has given the answer; what else they say stays in order.
fn wait_for_all(coordinator: &mut Coordinator, is_answer: fn(&Report) -> bool) -> Result<(), RunError> {
    let mut answers = 0;
    while answers < coordinator.workers() {
        let Ok(report) = coordinator.reports.recv() else {
            return Err(crate::worker::WorkerError::Panicked("all workers are gone".to_owned()).into());
        };
        match report {
            Report::Failed(error) => return Err(error.into()),
            report if is_answer(&report) => answers += 1,
            report => coordinator.held.push_back(report),
        }
    }
    Ok(())
}
