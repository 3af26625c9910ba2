use super::settings::{positive, size, time_ms, time_us};
use crate::config::raw::{self, OnError, Scalar};
use crate::config::{Place, Problem};
use millstream_model::limits::OperatorLimits;
use millstream_model::plan::{ErrorPolicy, NullKeyPolicy};

/// The smallest memory a module can have: one page.
const MEMORY_BYTES_MIN: u64 = 64 << 10;

/// An operator.
#[derive(Debug, Clone)]
pub(crate) struct OperatorSpec {
    pub(crate) id: String,
    pub(crate) module: String,
    pub(crate) name: Option<String>,
    pub(crate) inputs: Vec<String>,
    pub(crate) keyed: bool,
    pub(crate) config: String,
    pub(crate) limits: OperatorLimits,
    pub(crate) on_error: ErrorPolicy,
    pub(crate) retries: u32,
    pub(crate) null_key: NullKeyPolicy,
}

impl OperatorSpec {
    /// Where it is in the pipeline file.
    pub(crate) fn place(&self) -> Place {
        Place::at("operators").field(&self.id)
    }
}

/// Checks an operator.
pub(super) fn operator(id: &str, raw: &raw::Operator, has_dead_letters: bool) -> Result<OperatorSpec, Problem> {
    let place = Place::at("operators").field(id);
    if raw.on_error == Some(OnError::DeadLetter) && !has_dead_letters {
        let text =
            format!("operator `{id}` has `on_error: dead_letter` and the pipeline no `dead_letters: {{ topic: … }}`");
        return Err(Problem::new(&place.field("on_error"), text));
    }
    if raw.null_key.is_some() && raw.key_by.is_none() {
        let text = format!("operator `{id}`: `null_key` is for operators with `key_by: key`");
        return Err(Problem::new(&place.field("null_key"), text));
    }
    let without = if has_dead_letters { ErrorPolicy::DeadLetter } else { ErrorPolicy::Stop };
    Ok(OperatorSpec {
        id: id.to_owned(),
        module: raw.module.clone(),
        name: raw.operator.clone(),
        inputs: raw.inputs.clone(),
        keyed: raw.key_by.is_some(),
        config: raw.config.as_ref().map_or_else(|| "{}".to_owned(), ToString::to_string),
        limits: limits(&raw.limits, &place.field("limits"))?,
        on_error: match raw.on_error {
            None => without,
            Some(OnError::DeadLetter) => ErrorPolicy::DeadLetter,
            Some(OnError::Skip) => ErrorPolicy::Skip,
            Some(OnError::Stop) => ErrorPolicy::Stop,
        },
        retries: raw.retries.unwrap_or(3),
        null_key: match raw.null_key {
            None | Some(raw::NullKey::Reject) => NullKeyPolicy::Reject,
            Some(raw::NullKey::Drop) => NullKeyPolicy::Drop,
            Some(raw::NullKey::Empty) => NullKeyPolicy::Empty,
        },
    })
}

fn limits(raw: &raw::Limits, place: &Place) -> Result<OperatorLimits, Problem> {
    let usual = OperatorLimits::default();
    let length = |name: &str, value: &Option<Scalar>, usual: u32| {
        let place = place.field(name);
        let bytes = size(&place, value.as_ref(), u64::from(usual))?;
        u32::try_from(bytes).map_err(|_| Problem::new(&place, format!("`limits.{name}` is below 4GiB")))
    };
    let limits = OperatorLimits {
        memory_bytes_max: size(&place.field("memory"), raw.memory.as_ref(), usual.memory_bytes_max)?,
        batch_time_ms: time_ms(&place.field("batch_time"), raw.batch_time.as_ref(), usual.batch_time_ms)?,
        record_time_us: time_us(&place.field("record_time"), raw.record_time.as_ref(), usual.record_time_us)?,
        key_bytes_max: length("key", &raw.key, usual.key_bytes_max)?,
        value_bytes_max: length("value", &raw.value, usual.value_bytes_max)?,
        state_value_bytes_max: length("state_value", &raw.state_value, usual.state_value_bytes_max)?,
        outputs_per_record_max: positive(
            &place.field("outputs_per_record"),
            raw.outputs_per_record,
            usual.outputs_per_record_max,
        )?,
        output_bytes_max: size(&place.field("output_bytes"), raw.output_bytes.as_ref(), usual.output_bytes_max)?,
        timer_rounds_max: positive(&place.field("timer_rounds"), raw.timer_rounds, usual.timer_rounds_max)?,
        log_lines_per_second_max: raw.log_lines.unwrap_or(usual.log_lines_per_second_max),
        log_line_bytes_max: usual.log_line_bytes_max,
    };
    if limits.memory_bytes_max < MEMORY_BYTES_MIN {
        return Err(Problem::new(&place.field("memory"), "`limits.memory` is at least 64KiB, one page of WebAssembly"));
    }
    if limits.batch_time_ms == 0 {
        return Err(Problem::new(&place.field("batch_time"), "`limits.batch_time` is at least 1ms"));
    }
    Ok(limits)
}
