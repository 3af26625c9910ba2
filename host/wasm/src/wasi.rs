//! WASI as a closed world: a clock that stands still during a call, one seed, no files, no network, no environment.

use crate::host::Host;
use crate::log::{OperatorLog, Stream};
use crate::stdio::LogStream;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::{HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxBuilder, async_trait};

/// The seed of every instance: an operator that saw another one after a restart, or per batch, would show where it was cut.
const SEED: u64 = 0x6d69_6c6c_7374_7265;

/// Bytes of random data that a guest may ask for at once.
const RANDOM_BYTES_MAX: u64 = 1 << 20;

/// Time as a guest sees it: that of the call's mark. The monotonic clock adds a nanosecond per look, and what the guest slept.
#[derive(Debug, Default)]
pub(crate) struct GuestClock {
    now_ms: AtomicI64,
    monotonic_ns: AtomicU64,
}

impl GuestClock {
    /// Sets the time for the calls to come. The monotonic clock never goes back.
    pub(crate) fn set(&self, now_ms: i64) {
        if self.now_ms.swap(now_ms, Relaxed) != now_ms {
            let now_ns = u64::try_from(now_ms).unwrap_or(0).saturating_mul(1_000_000);
            self.monotonic_ns.fetch_max(now_ns, Relaxed);
        }
    }

    fn sleep(&self, duration_ns: u64) {
        let now_ns = self.monotonic_ns.load(Relaxed);
        self.monotonic_ns.store(now_ns.saturating_add(duration_ns), Relaxed);
    }

    fn read(&self) -> u64 {
        self.monotonic_ns.fetch_add(1, Relaxed)
    }
}

#[derive(Debug)]
struct Wall(Arc<GuestClock>);

impl HostWallClock for Wall {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.now_ms.load(Relaxed)).unwrap_or(0))
    }
}

#[derive(Debug)]
struct Monotonic(Arc<GuestClock>);

impl HostMonotonicClock for Monotonic {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.read()
    }
}

/// The context of one instance.
pub(crate) fn context(clock: &Arc<GuestClock>, log: &Arc<OperatorLog>) -> WasiCtx {
    let stream = |stream| LogStream { log: Arc::clone(log), stream };
    WasiCtxBuilder::new()
        .wall_clock(Wall(Arc::clone(clock)))
        .monotonic_clock(Monotonic(Arc::clone(clock)))
        .secure_random(ChaCha8Rng::seed_from_u64(SEED))
        .insecure_random(ChaCha8Rng::seed_from_u64(SEED))
        .insecure_random_seed(u128::from(SEED))
        .max_random_size(RANDOM_BYTES_MAX)
        .stdout(stream(Stream::Stdout))
        .stderr(stream(Stream::Stderr))
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .build()
}

/// Offers WASI 0.2. Interfaces of files and sockets are there, because language runtimes import them; there is nothing behind them.
pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    // The clock that waits in real time is replaced: nothing could interrupt it.
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<Host, GuestClocks>(linker, |host| GuestTime {
        clock: Arc::clone(&host.clock),
        table: &mut host.table,
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

struct GuestClocks;

impl HasData for GuestClocks {
    type Data<'a> = GuestTime<'a>;
}

/// `wasi:clocks/monotonic-clock` for one request.
struct GuestTime<'a> {
    clock: Arc<GuestClock>,
    table: &'a mut ResourceTable,
}

impl monotonic_clock::Host for GuestTime<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.clock.read())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(1)
    }

    fn subscribe_instant(&mut self, when_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let duration_ns = when_ns.saturating_sub(self.clock.monotonic_ns.load(Relaxed));
        self.subscribe_duration(duration_ns)
    }

    /// A sleep is over at once: the guest's clock is put forward instead.
    fn subscribe_duration(&mut self, duration_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        self.clock.sleep(duration_ns);
        let over = self.table.push(Over)?;
        subscribe(self.table, over)
    }
}

/// A wait that is over.
struct Over;

#[async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(clock: &Arc<GuestClock>) -> (u64, u64) {
        (Wall(Arc::clone(clock)).now().as_millis() as u64, Monotonic(Arc::clone(clock)).now())
    }

    #[test]
    fn clocks_follow_the_mark_and_nothing_else() {
        let clock = Arc::new(GuestClock::default());
        assert_eq!(times(&clock), (0, 0));
        clock.set(5);
        assert_eq!(times(&clock), (5, 5_000_000));
        assert_eq!(times(&clock), (5, 5_000_001), "the monotonic clock counts its reads");
        clock.set(3);
        assert_eq!(times(&clock), (3, 5_000_002), "the monotonic clock never goes back");
        clock.set(-1);
        assert_eq!(times(&clock), (0, 5_000_003));
    }

    #[test]
    fn a_sleep_is_over_at_once_and_shows_on_the_clock() {
        let clock = Arc::new(GuestClock::default());
        let mut table = ResourceTable::new();
        let mut time = GuestTime { clock: Arc::clone(&clock), table: &mut table };
        let hour_ns = 3_600_000_000_000;
        assert!(monotonic_clock::Host::subscribe_duration(&mut time, hour_ns).is_ok());
        assert_eq!(times(&clock).1, hour_ns);
        assert!(monotonic_clock::Host::subscribe_instant(&mut time, 2 * hour_ns).is_ok());
        assert_eq!(times(&clock).1, 2 * hour_ns);
        assert!(monotonic_clock::Host::subscribe_instant(&mut time, 1).is_ok());
        assert_eq!(times(&clock).1, 2 * hour_ns + 1);
    }
}
