use super::settings::{HOUR_MS, positive, size, time_ms, time_us, within};
use super::window::windowing;
use crate::config::raw::{self, OnError, Scalar};
use crate::config::{Place, Problem};
use millstream_model::limits::{BatchLimits, OperatorLimits};
use millstream_model::plan::{CommitSettings, ErrorPolicy, NullKeyPolicy, OutputTime};
use millstream_model::window::Windowing;
use millstream_wasm::Declared;
use std::ops::RangeInclusive;

/// What memory a module can have: from one page to all that its addresses of 32 bits reach.
const MEMORY_BYTES: RangeInclusive<u64> = 64 << 10..=4 << 30;

/// The longest key or value: the bytes of a batch are counted in 32 bits.
const LENGTH_BYTES_MAX: u64 = 1 << 30;

/// The most repetitions of a call that asks for it.
const RETRIES_MAX: u32 = 10;
/// What a call stack can have: some work needs little of it, and a worker's own stack must hold it.
const STACK_BYTES: RangeInclusive<u64> = 64 << 10..=1 << 20;

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
    pub(crate) output_time: Option<OutputTime>,
    pub(crate) windows: Option<Windowing>,
    /// For a module of the simple world only.
    pub(crate) declared: Option<Declared>,
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
        retries: retries(id, raw.retries, &place)?,
        null_key: match raw.null_key {
            None | Some(raw::NullKey::Reject) => NullKeyPolicy::Reject,
            Some(raw::NullKey::Drop) => NullKeyPolicy::Drop,
            Some(raw::NullKey::Empty) => NullKeyPolicy::Empty,
        },
        output_time: raw.watermark.as_ref().map(|watermark| output_time(watermark, &place)).transpose()?,
        windows: raw.window.as_ref().map(|window| windowing(id, window, &place.field("window"))).transpose()?,
        declared: raw.declare.as_ref().map(|declare| declared(declare, &place.field("declare"))).transpose()?,
    })
}

fn output_time(raw: &raw::OutputWatermark, place: &Place) -> Result<OutputTime, Problem> {
    let place = place.field("watermark").field("disorder");
    Ok(OutputTime { disorder_ms: time_ms(&place, Some(&raw.disorder), 0)? })
}

/// Retries pause for longer and longer, and an epoch waits for them: beyond so many it could not be committed in time.
fn retries(id: &str, raw: Option<u32>, place: &Place) -> Result<u32, Problem> {
    match raw.unwrap_or(3) {
        retries if retries <= RETRIES_MAX => Ok(retries),
        retries => {
            let text =
                format!("operator `{id}`: `retries: {retries}` is more than {RETRIES_MAX}, which take five seconds");
            Err(Problem::new(&place.field("retries"), text))
        }
    }
}

/// Refuses calls that may take so long that no transaction around them could be committed.
pub(super) fn check_times(
    operators: &[OperatorSpec],
    batch: &BatchLimits,
    commit: &CommitSettings,
) -> Result<(), Problem> {
    for operator in operators {
        let limits = &operator.limits;
        let most_ms = limits.batch_time_ms + limits.record_time_us * batch.rows_max as u64 / 1_000;
        if most_ms > commit.transaction_timeout_ms / 2 {
            let text = format!(
                "operator `{}`: a call may take {most_ms} ms (`limits.batch_time`, and `limits.record_time` for each of {} records), which is more than half of \
                 `commit.transaction_timeout` ({} ms): its epoch might never be committed; lower the one or raise the other",
                operator.id, batch.rows_max, commit.transaction_timeout_ms
            );
            return Err(Problem::new(&operator.place().field("limits"), text));
        }
    }
    Ok(())
}

/// Refuses limits under which nothing could ever be processed, or that are none.
fn check_bounds(limits: &OperatorLimits, place: &Place) -> Result<(), Problem> {
    let check = |field: &str, value: u64, bounds: RangeInclusive<u64>, shown: (&str, &str)| {
        within(&place.field(field), &format!("limits.{field}"), value, bounds, shown)
    };
    let bytes = 1..=LENGTH_BYTES_MAX;
    check("memory", limits.memory_bytes_max, MEMORY_BYTES, ("64KiB, one page of WebAssembly", "4GiB"))?;
    check("batch_time", limits.batch_time_ms, 1..=HOUR_MS, ("1ms", "1h"))?;
    check("record_time", limits.record_time_us, 0..=1_000_000, ("0", "1s"))?;
    check("output_bytes", limits.output_bytes_max, bytes.clone(), ("1", "1GiB"))?;
    check("request", limits.request_bytes_max, 1 << 10..=*bytes.end() * 2, ("1KiB", "2GiB"))?;
    check("stack", limits.stack_bytes_max, STACK_BYTES, ("64KiB", "1MiB"))
}

fn declared(raw: &raw::Declare, place: &Place) -> Result<Declared, Problem> {
    let usual = Declared::default();
    let names = |field: &str, given: &Option<Vec<String>>, usual: Vec<String>| match given {
        Some(names) => check_names(field, &place.field(field), names).map(|()| names.clone()),
        None => Ok(usual),
    };
    let declared = Declared {
        inputs: names("inputs", &raw.inputs, usual.inputs)?,
        outputs: names("outputs", &raw.outputs, usual.outputs)?,
        state_version: raw.state_version.unwrap_or(usual.state_version),
        reads_versions: raw.reads_versions.clone(),
    };
    if declared.inputs.is_empty() {
        return Err(Problem::new(&place.field("inputs"), "an operator has at least one input"));
    }
    if declared.reads_versions.contains(&declared.state_version) {
        let text = format!("`reads_versions` has {}, which is the version it writes", declared.state_version);
        return Err(Problem::new(&place.field("reads_versions"), text));
    }
    Ok(declared)
}

/// Longest name of an input or output, in bytes.
const NAME_BYTES_MAX: usize = 63;

/// Names of inputs and outputs are as in `wit/operator/descriptors.wit`.
fn check_names(field: &str, place: &Place, names: &[String]) -> Result<(), Problem> {
    let is_good = |name: &str| {
        let rest = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        name.len() <= NAME_BYTES_MAX
            && name.bytes().next().is_some_and(|first| first.is_ascii_lowercase())
            && name.bytes().all(rest)
    };
    for (at, name) in names.iter().enumerate() {
        let text = if !is_good(name) {
            format!(
                "`{name}` is no name: a letter, then letters, digits and `-`, all lowercase, at most {NAME_BYTES_MAX}"
            )
        } else if field == "outputs" && ["late", "rejected"].contains(&name.as_str()) {
            format!("`{name}` is an output that every operator has by itself: choose another name")
        } else if names.iter().take(at).any(|other| other == name) {
            format!("`{name}` is there twice")
        } else {
            continue;
        };
        return Err(Problem::new(&place.item(at), text));
    }
    Ok(())
}

fn limits(raw: &raw::Limits, place: &Place) -> Result<OperatorLimits, Problem> {
    let usual = OperatorLimits::default();
    let length = |name: &str, value: &Option<Scalar>, usual: u32| {
        let place = place.field(name);
        let bytes = size(&place, value.as_ref(), u64::from(usual))?;
        within(&place, &format!("limits.{name}"), bytes, 1..=LENGTH_BYTES_MAX, ("1", "1GiB"))?;
        Ok(u32::try_from(bytes).unwrap_or(u32::MAX))
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
        log_line_bytes_max: length("log_line", &raw.log_line, usual.log_line_bytes_max)?,
        request_bytes_max: usual.request_bytes_max,
        stack_bytes_max: size(&place.field("stack"), raw.stack.as_ref(), usual.stack_bytes_max)?,
        instances_max: positive(&place.field("instances"), raw.instances, usual.instances_max)?,
        tables_max: positive(&place.field("tables"), raw.tables, usual.tables_max)?,
        metric_names_max: raw.metrics.unwrap_or(usual.metric_names_max),
    };
    // A request hands over columns with their ends: beside what may be emitted there must be room for these.
    let request_bytes_usual = limits.request_bytes_max.max(limits.output_bytes_max.saturating_mul(2));
    let limits = OperatorLimits {
        request_bytes_max: size(&place.field("request"), raw.request.as_ref(), request_bytes_usual)?,
        ..limits
    };
    check_bounds(&limits, place)?;
    Ok(limits)
}
