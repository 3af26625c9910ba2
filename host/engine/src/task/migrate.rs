//! Migration of stored values: whatever it takes, and what comes of it.

use super::step::{Step, next_step};
use super::{SEARCH_LIMIT_MS_MIN, Task, time_limit_ms};
use crate::call::Call;
use crate::keyed::stale::{Search, Stale};
use crate::ports::{CallError, OldValues, Operator};
use millstream_model::column::BytesColumn;
use millstream_model::plan::OperatorNode;
use std::time::Duration;

/// Values and bytes that `migrate` is given at a time; one value may pass the latter.
const CALL_ROWS: usize = 4_096;
const CALL_BYTES: usize = 1 << 20;

/// What a task has migrated since it was last asked.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Values rewritten or removed.
    pub values: u64,
    /// Values refused: by the operator, or as it failed on them.
    pub refused: u64,
    /// Calls of `migrate` that trapped, took too long or hit a limit.
    pub calls_failed: u64,
}

/// Values that are migrated with one call, by their rows.
struct Portion {
    rows: Vec<u32>,
    searching: bool,
    attempts: u32,
}

/// What becomes of a value: its new bytes, none if it is removed, or why it stays as it is.
type Outcome<'a> = Result<Option<&'a [u8]>, &'a str>;

impl Task {
    /// What every kind of call passes once its keys are numbered, before the operator is called: the values of these keys that older versions wrote are rewritten. That is a
    /// change of the open epoch, whatever becomes of the call.
    ///
    /// # Errors
    /// [`CallError::Reject`] names the rows whose keys have a value that cannot be rewritten.
    pub(super) fn ready(&mut self, call: &mut Call) -> Result<(), CallError> {
        if !call.state.is_migrating() {
            return Ok(());
        }
        let mut search = Search::default();
        while let Some(stale) = call.state.next_stale(&mut search)? {
            self.migrate(call, &stale, |key_row, reason| drop(search.refused.insert(key_row, reason)))?;
        }
        if search.refused.is_empty() {
            return Ok(());
        }
        let rows = (0u32..).zip(&call.key_rows);
        let refused = rows.filter_map(|(row, key_row)| Some((row, search.refused.get(key_row)?.clone())));
        Err(CallError::Reject(refused.collect()))
    }

    /// Rewrites values into the open epoch. Those that cannot be are told by key row, and keep their bytes.
    pub(super) fn migrate(
        &mut self,
        call: &mut Call,
        stale: &Stale,
        mut refused: impl FnMut(u32, String),
    ) -> Result<(), CallError> {
        let descriptor = self.node.descriptor.states.get(stale.state as usize);
        let name = descriptor.map_or("", |state| state.name.as_str());
        let migrated = &mut self.migrated;
        let mut settle = |row: u32, outcome: Outcome<'_>| match outcome {
            Ok(value) => {
                migrated.values += 1;
                call.state.settle(stale, row, value);
            }
            Err(reason) => {
                let version = stale.from_version;
                let reason = format!("a value of state `{name}`, version {version}, cannot be migrated: {reason}");
                migrated.refused += 1;
                refused(call.state.refuse(stale, row, &reason), reason);
            }
        };
        let failed = rewrite(self.operator.as_mut(), &self.node, stale, &mut settle)?;
        self.migrated.calls_failed += failed;
        Ok(())
    }

    /// What was migrated since it was last asked.
    pub fn take_migrated(&mut self) -> Migrated {
        std::mem::take(&mut self.migrated)
    }
}

/// Has an operator rewrite values, and settles each one. What it fails on is halved until the value at fault is alone. Tells how many calls failed.
fn rewrite(
    operator: &mut dyn Operator,
    node: &OperatorNode,
    stale: &Stale,
    settle: &mut dyn FnMut(u32, Outcome<'_>),
) -> Result<u64, CallError> {
    let (mut portions, mut failed) = (whole_portions(&stale.values), 0);
    while let Some(mut portion) = portions.pop() {
        portion.attempts += 1;
        let error = match attempt(operator, node, stale, &portion) {
            Ok(values) => {
                for (at, &row) in (0u32..).zip(&portion.rows) {
                    settle(row, within_limit(node, values.get(at)).as_ref().copied().map_err(String::as_str));
                }
                continue;
            }
            Err(error) => error,
        };
        failed += u64::from(!error.names_its_rows());
        match next_step(error, portion.rows.len(), portion.attempts, node.retries) {
            Step::Refuse(refused) => {
                let mut at = 0u32..;
                portion.rows.retain(|&row| {
                    let at = at.next().unwrap_or_default();
                    let reason = refused.iter().find(|(other, _)| *other == at).map(|(_, reason)| reason);
                    reason.inspect(|reason| settle(row, Err(reason))).is_none()
                });
                portions.extend((!portion.rows.is_empty()).then_some(Portion { attempts: 0, ..portion }));
            }
            Step::Retry { after_ms } => {
                std::thread::sleep(Duration::from_millis(after_ms));
                portions.push(portion);
            }
            Step::Split { at, timed_out } => {
                let searching = portion.searching || timed_out;
                let second = portion.rows.split_off(at);
                portions.push(Portion { rows: second, searching, attempts: 0 });
                portions.push(Portion { rows: portion.rows, searching, attempts: 0 });
            }
            Step::Stop(reason) => return Err(CallError::Stop(reason)),
        }
    }
    Ok(failed)
}

/// Values in portions of a size that fits an instance, the first one last.
fn whole_portions(values: &BytesColumn) -> Vec<Portion> {
    let (mut portions, mut rows, mut bytes) = (Vec::new(), Vec::new(), 0);
    for row in 0..values.len() as u32 {
        let len = values.value_len(row);
        if rows.len() >= CALL_ROWS || (bytes + len > CALL_BYTES && !rows.is_empty()) {
            portions.push(Portion { rows: std::mem::take(&mut rows), searching: false, attempts: 0 });
            bytes = 0;
        }
        rows.push(row);
        bytes += len;
    }
    if !rows.is_empty() {
        portions.push(Portion { rows, searching: false, attempts: 0 });
    }
    portions.reverse();
    portions
}

fn attempt(
    operator: &mut dyn Operator,
    node: &OperatorNode,
    stale: &Stale,
    portion: &Portion,
) -> Result<BytesColumn, CallError> {
    let mut values = BytesColumn::default();
    values.gather(&stale.values, &portion.rows);
    let rows = values.len();
    let full = time_limit_ms(&node.limits, rows);
    let time_limit_ms = if portion.searching && rows > 1 { full.min(SEARCH_LIMIT_MS_MIN) } else { full };
    let (state, from_version) = (stale.state, stale.from_version);
    let new = operator.migrate(OldValues { state, from_version, values: &values, time_limit_ms })?;
    if new.len() == rows {
        return Ok(new);
    }
    let reason = format!("`migrate` was given {rows} value(s) and returned {}", new.len());
    Err(CallError::Trap { reason, backtrace: None })
}

fn within_limit<'a>(node: &OperatorNode, value: Option<&'a [u8]>) -> Result<Option<&'a [u8]>, String> {
    let max = node.limits.state_value_bytes_max as usize;
    match value.map(<[u8]>::len).filter(|&len| len > max) {
        Some(len) => Err(format!("the new value has {len} bytes, `limits.state_value` allows {max}")),
        None => Ok(value),
    }
}
