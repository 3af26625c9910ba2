//! Migration of stored values: whatever it takes, and what comes of it.

use super::step::{Step, next_step};
use super::{SEARCH_LIMIT_MS_MIN, Task, time_limit_ms};
use crate::call::Call;
use crate::keyed::stale::{Search, Stale, Unfit};
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
    /// Values that could not be.
    pub refused: u64,
    /// Those of them that the operator failed on; it rejected the others.
    pub faults: u64,
    /// Calls of `migrate` that trapped, took too long or hit a limit.
    pub calls_failed: u64,
}

/// Values that are migrated with one call, by their rows.
struct Portion {
    rows: Vec<u32>,
    searching: bool,
    attempts: u32,
}

impl Portion {
    /// The portion without some of its values, counted within it, which are told by their rows; `None`: none is left.
    fn without(mut self, refused: &[(u32, String)], mut tell: impl FnMut(u32, &str)) -> Option<Self> {
        let mut places = 0u32..;
        self.rows.retain(|&row| {
            let place = places.next();
            let found = refused.iter().find(|(other, _)| Some(*other) == place);
            found.inspect(|(_, reason)| tell(row, reason)).is_none()
        });
        self.attempts = 0;
        (!self.rows.is_empty()).then_some(self)
    }
}

/// What becomes of a value: its new bytes, none if it is removed, or why it stays as it is and whether the operator is at fault.
type Outcome<'a> = Result<Option<&'a [u8]>, (&'a str, bool)>;

impl Task {
    /// What every kind of call passes once its keys are numbered, before the operator is called: the values of these keys that older versions wrote are rewritten. That is a
    /// change of the open epoch, whatever becomes of the call.
    ///
    /// # Errors
    /// [`CallError::Blame`] or [`CallError::Reject`] names rows whose keys have a value that cannot be rewritten.
    pub(super) fn ready(&mut self, call: &mut Call) -> Result<(), CallError> {
        if !call.state.is_migrating() {
            return Ok(());
        }
        let mut search = Search::default();
        while let Some(stale) = call.state.next_stale(&mut search)? {
            self.migrate(call, &stale, |key_row, unfit| drop(search.unfit.insert(key_row, unfit)))?;
        }
        if search.unfit.is_empty() {
            return Ok(());
        }
        let of = |is_fault: bool| {
            let unfit = |key_row| search.unfit.get(key_row).filter(|unfit| unfit.is_fault == is_fault);
            let rows = (0u32..).zip(&call.key_rows);
            rows.filter_map(|(row, key_row)| Some((row, unfit(key_row)?.reason.to_string()))).collect::<Vec<_>>()
        };
        let blamed = of(true);
        Err(if blamed.is_empty() { CallError::Reject(of(false)) } else { CallError::Blame(blamed) })
    }

    /// Rewrites values into the open epoch. Those that cannot be are told by key row, and keep their bytes.
    pub(super) fn migrate(
        &mut self,
        call: &mut Call,
        stale: &Stale,
        mut refused: impl FnMut(u32, Unfit),
    ) -> Result<(), CallError> {
        let node = &self.parts.node;
        let descriptor = node.descriptor.states.get(stale.state as usize);
        let name = descriptor.map_or("", |state| state.name.as_str());
        let migrated = &mut self.migrated;
        let mut settle = |row: u32, outcome: Outcome<'_>| match outcome {
            Ok(value) => {
                migrated.values += 1;
                call.state.settle(stale, row, value);
            }
            Err((reason, is_fault)) => {
                let version = stale.from_version;
                let reason = format!("a value of state `{name}`, version {version}, cannot be migrated: {reason}");
                let unfit = Unfit { reason: reason.into(), is_fault };
                migrated.refused += 1;
                migrated.faults += u64::from(is_fault);
                refused(call.state.refuse(stale, row, &unfit), unfit);
            }
        };
        let failed = rewrite(self.operator.as_mut(), node, stale, &mut settle)?;
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
                    let value = within_limit(node, values.get(at));
                    settle(row, value.as_ref().copied().map_err(|reason| (reason.as_str(), false)));
                }
                continue;
            }
            Err(error) => error,
        };
        failed += u64::from(!error.names_its_rows());
        match next_step(error, portion.rows.len(), portion.attempts, node.retries) {
            Step::Refuse(refused) => {
                portions.extend(portion.without(&refused, |row, why| settle(row, Err((why, false)))))
            }
            Step::Blame(blamed) => portions.extend(portion.without(&blamed, |row, why| settle(row, Err((why, true))))),
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
