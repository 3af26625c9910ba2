//! What an instance may take of the machine.

use millstream_model::limits::OperatorLimits;
use std::fmt;
use wasmtime::ResourceLimiter;

/// Linear memories of an instance; together they count as its memory.
const MEMORIES_MAX: usize = 16;

/// What a table's element costs the host, in bytes.
const ELEMENT_BYTES: usize = 16;

/// Beyond a limit: the call ends at once, so that the limit is named and not the guest's reaction to it.
#[derive(Debug)]
pub(crate) struct LimitHit {
    pub(crate) limit: &'static str,
    pub(crate) reason: String,
}

impl fmt::Display for LimitHit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hit `limits.{}`: {}", self.limit, self.reason)
    }
}

impl std::error::Error for LimitHit {}

/// Counts the memory of an instance, linear memories and tables together, and how many of what it has.
#[derive(Debug)]
pub(crate) struct MemoryLimiter {
    bytes: usize,
    bytes_max: usize,
    instances_max: usize,
    tables_max: usize,
}

impl MemoryLimiter {
    pub(crate) fn new(limits: &OperatorLimits) -> Self {
        Self {
            bytes: 0,
            bytes_max: usize::try_from(limits.memory_bytes_max).unwrap_or(usize::MAX),
            instances_max: limits.instances_max as usize,
            tables_max: limits.tables_max as usize,
        }
    }

    fn grow(&mut self, more: usize) -> wasmtime::Result<bool> {
        let bytes = self.bytes.saturating_add(more);
        if bytes > self.bytes_max {
            let reason = format!("the operator asked for {bytes} bytes of memory, {} allowed", self.bytes_max);
            return Err(LimitHit { limit: "memory", reason }.into());
        }
        self.bytes = bytes;
        Ok(true)
    }
}

impl ResourceLimiter for MemoryLimiter {
    fn memory_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(desired.saturating_sub(current))
    }

    fn table_growing(&mut self, current: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        self.grow(desired.saturating_sub(current).saturating_mul(ELEMENT_BYTES))
    }

    fn instances(&self) -> usize {
        self.instances_max
    }

    fn tables(&self) -> usize {
        self.tables_max
    }

    fn memories(&self) -> usize {
        MEMORIES_MAX
    }
}

/// What one call, or one record in the simple world, may pile up in the host beside outputs: state, marks, metrics.
#[derive(Debug, Default)]
pub(crate) struct StagingBudget {
    left: u64,
    granted: u64,
}

/// What a request costs the host beside its bytes.
const REQUEST_BYTES: u64 = 64;

impl StagingBudget {
    /// Outputs are counted exactly by the engine; this one is for the rest, so it is generous.
    pub(crate) fn grant(&mut self, limits: &OperatorLimits) {
        self.granted = limits.output_bytes_max.saturating_mul(4);
        self.left = self.granted;
    }

    /// As much again, for the next record of the simple world.
    pub(crate) fn refill(&mut self) {
        self.left = self.granted;
    }

    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), LimitHit> {
        let cost = bytes as u64 + REQUEST_BYTES;
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let reason = format!("one call staged more than {} bytes of effects", self.granted);
                Err(LimitHit { limit: "output_bytes", reason })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_and_tables_share_one_limit() {
        let limits = OperatorLimits { memory_bytes_max: 1_000, ..OperatorLimits::default() };
        let mut limiter = MemoryLimiter::new(&limits);
        assert_eq!(limiter.memory_growing(0, 600, None).ok(), Some(true));
        assert_eq!(limiter.memory_growing(0, 200, None).ok(), Some(true), "a second memory");
        assert_eq!(limiter.table_growing(0, 10, None).ok(), Some(true));
        assert_eq!(limiter.memory_growing(600, 601, Some(600)).ok(), Some(false), "beyond the module's own maximum");
        let hit = limiter.table_growing(10, 13, None).err();
        assert!(hit.is_some_and(|error| error.downcast_ref::<LimitHit>().is_some_and(|hit| hit.limit == "memory")));
    }

    #[test]
    fn requests_without_bytes_use_the_budget_up_too() {
        let limits = OperatorLimits { output_bytes_max: 160, ..OperatorLimits::default() };
        let mut budget = StagingBudget::default();
        budget.grant(&limits);
        assert_eq!((0..100).take_while(|_| budget.spend(0).is_ok()).count(), 10);
        budget.refill();
        assert!(budget.spend(576).is_ok());
        assert!(budget.spend(1).is_err_and(|hit| hit.limit == "output_bytes"));
    }
}
