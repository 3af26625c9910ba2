//! The WebAssembly runtime of a process: one engine, one linker, one ticker, one cache of compiled modules.

use crate::cache::CompileCache;
use crate::error::LoadError;
use crate::host::Host;
use crate::limits::STACK_BYTES_MAX;
use crate::ticker::Ticker;
use millstream_engine::ports::{Clock, SystemClock};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use wasmtime::component::Linker;
use wasmtime::{Config, OptLevel, WasmBacktraceDetails};

/// What an [`Engine`] is made of.
#[derive(Clone)]
pub struct EngineSettings {
    /// Where compiled modules are kept; `None` compiles at every start.
    pub cache_dir: Option<PathBuf>,
    /// Counts the seconds that log lines are limited by.
    pub clock: Arc<dyn Clock>,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { cache_dir: None, clock: Arc::new(SystemClock::default()) }
    }
}

impl fmt::Debug for EngineSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineSettings").field("cache_dir", &self.cache_dir).finish_non_exhaustive()
    }
}

/// The runtime. Made once per process; clones are the same one.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) wasm: wasmtime::Engine,
    pub(crate) linker: Linker<Host>,
    pub(crate) cache: Option<CompileCache>,
    pub(crate) ticker: Ticker,
    pub(crate) clock: Arc<dyn Clock>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("cache", &self.inner.cache).finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts the runtime. A cache directory that cannot be used costs a warning and the time to compile.
    ///
    /// # Errors
    /// [`LoadError::Runtime`] if this machine cannot run it.
    pub fn new(settings: EngineSettings) -> Result<Self, LoadError> {
        let runtime = |reason: String| LoadError::Runtime { reason };
        let wasm = wasmtime::Engine::new(&config()).map_err(|error| runtime(format!("{error:#}")))?;
        let linker = linker(&wasm).map_err(|error| runtime(format!("{error:#}")))?;
        let ticker = Ticker::start(&wasm).map_err(|error| runtime(error.to_string()))?;
        let cache = settings.cache_dir.and_then(|directory| match CompileCache::open(&directory, &wasm) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), "compiled modules are not kept: {error}");
                None
            }
        });
        Ok(Self { inner: Arc::new(Inner { wasm, linker, cache, ticker, clock: settings.clock }) })
    }
}

/// Everything that could make two runs differ, or give a guest more than it needs, is off.
fn config() -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(STACK_BYTES_MAX)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_component_model(true);
    config
}

/// Both worlds and WASI; a component uses what it imports.
fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    crate::wasi::add_to_linker(&mut linker)?;
    crate::columnar::add_to_linker(&mut linker)?;
    crate::simple::add_to_linker(&mut linker)?;
    Ok(linker)
}
