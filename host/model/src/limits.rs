//! Limits of an operator; each is named in the error it causes, as the setting of the pipeline file that changes it.

use serde::{Deserialize, Serialize};

/// What one operator may use on one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorLimits {
    /// `limits.memory`: linear memory of an instance, in bytes.
    pub memory_bytes_max: u64,
    /// `limits.batch_time`: time a call may take, in milliseconds, beside `record_time_us` for each record.
    pub batch_time_ms: u64,
    /// `limits.record_time`: what each record adds to the time of a call, in microseconds.
    pub record_time_us: u64,
    /// `limits.key`: length of a key, in bytes.
    pub key_bytes_max: u32,
    /// `limits.value`: length of an emitted value, in bytes.
    pub value_bytes_max: u32,
    /// `limits.state_value`: length of a value in state, in bytes.
    pub state_value_bytes_max: u32,
    /// `limits.outputs_per_record`: records that one record may emit.
    pub outputs_per_record_max: u32,
    /// `limits.output_bytes`: bytes that one call may emit.
    pub output_bytes_max: u64,
    /// `limits.timer_rounds`: how often in one advance of time a key's timers may set another one that is due at once.
    pub timer_rounds_max: u32,
    /// `limits.log_lines`: lines per second; more are dropped and counted.
    pub log_lines_per_second_max: u32,
    /// `limits.log_line`: bytes of one log line; the rest is cut.
    pub log_line_bytes_max: u32,
    /// `limits.request`: bytes that the guest may hand to the host with one request.
    pub request_bytes_max: u64,
    /// `limits.stack`: call stack of an instance, in bytes.
    pub stack_bytes_max: u64,
    /// `limits.instances`: core instances of a component, those of its adapters and language runtime included.
    pub instances_max: u32,
    /// `limits.tables`: tables of an instance; their elements count as memory.
    pub tables_max: u32,
    /// `limits.metrics`: names of the operator's own metrics.
    pub metric_names_max: u32,
}

impl Default for OperatorLimits {
    fn default() -> Self {
        Self {
            memory_bytes_max: 64 << 20,
            batch_time_ms: 200,
            record_time_us: 50,
            key_bytes_max: 1 << 10,
            value_bytes_max: 1 << 20,
            state_value_bytes_max: 512 << 10,
            outputs_per_record_max: 1_000,
            output_bytes_max: 8 << 20,
            timer_rounds_max: 100_000,
            log_lines_per_second_max: 100,
            log_line_bytes_max: 4 << 10,
            request_bytes_max: 16 << 20,
            stack_bytes_max: 512 << 10,
            instances_max: 128,
            tables_max: 64,
            metric_names_max: 1_000,
        }
    }
}

/// What cuts a stream into batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records of a batch.
    pub rows_max: usize,
    /// Bytes of keys, values and headers of a batch; a single record may pass it.
    pub bytes_max: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { rows_max: 4_096, bytes_max: 1 << 20 }
    }
}
