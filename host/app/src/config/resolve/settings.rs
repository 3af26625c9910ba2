//! Numbers, sizes and times, with their bounds.

use crate::config::raw::{self, Scalar};
use crate::config::{Place, Problem, units};
use millstream_model::limits::BatchLimits;
use millstream_model::plan::CommitSettings;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// An hour, in milliseconds.
pub(super) const HOUR_MS: u64 = 3_600_000;

/// The least that RocksDB and the caches can work with.
const STATE_MEMORY_BYTES_MIN: u64 = 16 << 20;

/// Where the door listens unless it is told.
const ANY_PORT: &str = "127.0.0.1:0";

/// When checkpoints are taken, and where they are kept.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointSpec {
    pub(crate) interval_ms: Option<u64>,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) keep: usize,
}

/// The door of the running pipeline.
#[derive(Debug, Clone)]
pub(crate) struct ApiSpec {
    /// `None`: it listens on no port.
    pub(crate) listen: Option<SocketAddr>,
    pub(crate) hosts: Vec<String>,
    pub(crate) origins: Vec<String>,
}

pub(super) fn api(raw: &raw::Api) -> Result<ApiSpec, Problem> {
    let place = Place::at("api");
    let listen = raw.listen.as_deref().unwrap_or(ANY_PORT);
    let listen = listen_address(listen).map_err(|text| Problem::new(&place.field("listen"), text))?;
    for (at, origin) in raw.origins.iter().enumerate() {
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
            let text = format!("`{origin}` is no origin: write it like https://streams.example, without a path");
            return Err(Problem::new(&place.field("origins").item(at), text));
        }
    }
    if let Some(at) = raw.hosts.iter().position(|host| host.is_empty() || host.contains(['/', '*', ' '])) {
        let host = raw.hosts.get(at).map(String::as_str).unwrap_or_default();
        let text = format!("`{host}` is no host: write it like streams.example or streams.example:8443");
        return Err(Problem::new(&place.field("hosts").item(at), text));
    }
    Ok(ApiSpec { listen, hosts: raw.hosts.clone(), origins: raw.origins.clone() })
}

/// Reads where the door is to listen: an address of this machine, or `off`.
pub(crate) fn listen_address(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    let address: SocketAddr = text.parse().map_err(|_| {
        format!("`{text}` is no address: write it like 127.0.0.1:8421, 127.0.0.1:0 for any free port, or off")
    })?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "{address} can be reached from other machines, and what is said there is not encrypted: listen on 127.0.0.1 and let a proxy with TLS pass requests on; `api.hosts` names it"
        ));
    }
    Ok(Some(address))
}

pub(super) fn checkpoint(raw: &raw::Checkpoint, folder: &Path) -> Result<CheckpointSpec, Problem> {
    let place = Place::at("checkpoint");
    let interval = raw.interval.as_ref().map(|value| time_ms(&place.field("interval"), Some(value), 0));
    let interval_ms = interval.transpose()?;
    if interval_ms == Some(0) {
        return Err(Problem::new(&place.field("interval"), "`checkpoint.interval` is at least 1ms"));
    }
    let keep = positive(&place.field("keep"), raw.keep.map(|keep| keep as u64), 3)?;
    Ok(CheckpointSpec {
        interval_ms,
        dir: raw.dir.as_ref().map(|dir| folder.join(dir)),
        keep: usize::try_from(keep).unwrap_or(usize::MAX),
    })
}

pub(super) fn commit(raw: &raw::Commit) -> Result<CommitSettings, Problem> {
    let usual = CommitSettings::default();
    let place = Place::at("commit");
    let (interval, timeout) = (place.field("interval"), place.field("transaction_timeout"));
    let settings = CommitSettings {
        interval_ms: time_ms(&interval, raw.interval.as_ref(), usual.interval_ms)?,
        output_bytes_max: size(&place.field("output_bytes"), raw.output_bytes.as_ref(), usual.output_bytes_max)?,
        transaction_timeout_ms: time_ms(&timeout, raw.transaction_timeout.as_ref(), usual.transaction_timeout_ms)?,
    };
    within(&interval, "commit.interval", settings.interval_ms, 1..=HOUR_MS, ("1ms", "1h"))?;
    within(&timeout, "commit.transaction_timeout", settings.transaction_timeout_ms, 1_000..=HOUR_MS, ("1s", "1h"))?;
    // With less nothing could ever be read: what is on its way to the sinks holds the sources back.
    let output_bytes = place.field("output_bytes");
    within(&output_bytes, "commit.output_bytes", settings.output_bytes_max, 1 << 10..=16 << 30, ("1KiB", "16GiB"))?;
    Ok(settings)
}

pub(super) fn batch(raw: &raw::Batch) -> Result<BatchLimits, Problem> {
    let usual = BatchLimits::default();
    let place = Place::at("batch");
    let (records, bytes) = (place.field("records"), place.field("bytes"));
    let bytes_max = size(&bytes, raw.bytes.as_ref(), usual.bytes_max as u64)?;
    let limits = BatchLimits {
        rows_max: raw.records.unwrap_or(usual.rows_max),
        bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
    };
    if !(1..=65_536).contains(&limits.rows_max) {
        return Err(Problem::new(&records, format!("`batch.records: {}` is not between 1 and 65536", limits.rows_max)));
    }
    within(&bytes, "batch.bytes", bytes_max, 1..=256 << 20, ("1", "256MiB"))?;
    Ok(limits)
}

pub(super) fn workers(raw: Option<u32>) -> Result<u32, Problem> {
    match raw.unwrap_or(1) {
        workers @ 1..=128 => Ok(workers),
        workers => Err(Problem::new(
            &Place::at("workers"),
            format!("`workers: {workers}` is not between 1 and 128, the number of key groups"),
        )),
    }
}

pub(super) fn state_memory_bytes(raw: &raw::State) -> Result<u64, Problem> {
    let place = Place::at("state").field("memory");
    let memory = size(&place, raw.memory.as_ref(), 256 << 20)?;
    within(&place, "state.memory", memory, STATE_MEMORY_BYTES_MIN..=1 << 40, ("16MiB", "1024GiB"))?;
    Ok(memory)
}

/// Refuses a number outside of its bounds, which are shown as people write them.
pub(super) fn within(
    place: &Place,
    name: &str,
    value: u64,
    bounds: RangeInclusive<u64>,
    (least, most): (&str, &str),
) -> Result<(), Problem> {
    if bounds.contains(&value) {
        return Ok(());
    }
    let text = if value < *bounds.start() { format!("at least {least}") } else { format!("at most {most}") };
    Err(Problem::new(place, format!("`{name}` is {text}")))
}

/// A length of time, in milliseconds.
pub(super) fn time_ms(place: &Place, value: Option<&Scalar>, usual: u64) -> Result<u64, Problem> {
    value.map_or(Ok(usual), |value| time_us(place, Some(value), 0).map(|us| us / 1_000))
}

/// A length of time, in microseconds.
pub(super) fn time_us(place: &Place, value: Option<&Scalar>, usual: u64) -> Result<u64, Problem> {
    value.map_or(Ok(usual), |value| units::time_us(value).map_err(|text| Problem::new(place, text)))
}

/// A number of bytes.
pub(super) fn size(place: &Place, value: Option<&Scalar>, usual: u64) -> Result<u64, Problem> {
    value.map_or(Ok(usual), |value| units::bytes(value).map_err(|text| Problem::new(place, text)))
}

/// A number that is not 0.
pub(super) fn positive<T: PartialEq + From<u8>>(place: &Place, value: Option<T>, usual: T) -> Result<T, Problem> {
    match value {
        Some(value) if value == T::from(0) => Err(Problem::new(place, format!("`{}` is at least 1", place.name()))),
        value => Ok(value.unwrap_or(usual)),
    }
}
