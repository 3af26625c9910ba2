//! The WebAssembly runtime of a process: one engine, one linker, one ticker, one cache of compiled modules.

use crate::cache::CompileCache;
use crate::error::LoadError;
use crate::host::Host;
use crate::ticker::Ticker;
use millstream_engine::ports::{Clock, SystemClock};
use millstream_model::limits::OperatorLimits;
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
    /// `limits.stack` of all operators: the call stack of an instance, in bytes. The runtime has one for all of its instances; operators with another
    /// one need an engine of their own.
    pub stack_bytes_max: u64,
}

impl Default for EngineSettings {
    fn default() -> Self {
        let stack_bytes_max = OperatorLimits::default().stack_bytes_max;
        Self { cache_dir: None, clock: Arc::new(SystemClock::default()), stack_bytes_max }
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
    pub(crate) stack_bytes_max: u64,
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
        let wasm =
            wasmtime::Engine::new(&config(settings.stack_bytes_max)).map_err(|error| runtime(format!("{error:#}")))?;
        let linker = linker(&wasm).map_err(|error| runtime(format!("{error:#}")))?;
        let ticker = Ticker::start(&wasm).map_err(|error| runtime(error.to_string()))?;
        let cache = settings.cache_dir.as_ref().and_then(|directory| match CompileCache::open(directory, &wasm) {
            Ok(cache) => Some(cache),
            Err(error) => {
                tracing::warn!(directory = %directory.display(), "compiled modules are not kept: {error}");
                None
            }
        });
        let EngineSettings { clock, stack_bytes_max, .. } = settings;
        Ok(Self { inner: Arc::new(Inner { wasm, linker, cache, ticker, clock, stack_bytes_max }) })
    }
}

/// Everything that could make two runs differ, or give a guest more than it needs, is off.
fn config(stack_bytes_max: u64) -> Config {
    let mut config = Config::new();
    config
        .concurrency_support(false)
        .cranelift_opt_level(OptLevel::Speed)
        .cranelift_nan_canonicalization(true)
        .epoch_interruption(true)
        .max_wasm_stack(usize::try_from(stack_bytes_max).unwrap_or(usize::MAX))
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_relaxed_simd(false)
        .wasm_memory64(false)
        .wasm_gc(false)
        .wasm_stack_switching(false)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A core module of one section.
    fn module(section: &[u8]) -> Vec<u8> {
        [b"\0asm\x01\0\0\0".as_slice(), section].concat()
    }

    fn refusal(section: &[u8]) -> Option<String> {
        let engine = Engine::new(EngineSettings::default()).unwrap();
        wasmtime::Module::new(&engine.inner.wasm, module(section)).err().map(|error| format!("{error:#}"))
    }

    #[test]
    fn features_that_are_not_offered_are_refused() {
        // Memories: section 5, one of them, its flags, at least one page, at most one.
        assert_eq!(refusal(&[5, 4, 1, 0b001, 1, 1]), None, "a plain one");
        let cases: [(&str, &[u8]); 5] = [
            ("threads", &[5, 4, 1, 0b011, 1, 1]),
            ("memory64", &[5, 4, 1, 0b101, 1, 1]),
            // Types: section 1, a struct without fields.
            ("gc", &[1, 3, 1, 0x5f, 0]),
            // A function type; then a tag of it, section 13.
            ("exceptions", &[1, 4, 1, 0x60, 0, 0, 13, 3, 1, 0, 0]),
            // A continuation of a function type.
            ("stack switching", &[1, 6, 2, 0x60, 0, 0, 0x5d, 0]),
        ];
        for (feature, section) in cases {
            assert!(refusal(section).is_some(), "{feature} is on");
        }
    }

    #[test]
    fn relaxed_simd_is_refused_and_plain_simd_is_not() {
        // One function of no arguments: three vectors of nothing, one instruction on them, its result dropped.
        let nothing: Vec<u8> = [0xfd, 0x0c].into_iter().chain([0; 16]).collect();
        let body = |instruction: &[u8], operands: usize| {
            let code = [&[0], nothing.repeat(operands).as_slice(), instruction, &[0x1a, 0x0b]].concat();
            let length = code.len() as u8;
            let types = [1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0];
            [types.as_slice(), &[10, length + 2, 1, length], &code].concat()
        };
        // i8x16.swizzle, and i8x16.relaxed_swizzle, whose result depends on the processor.
        assert_eq!(refusal(&body(&[0xfd, 0x0e], 2)), None);
        let refused = refusal(&body(&[0xfd, 0x80, 0x02], 2)).unwrap();
        assert!(refused.contains("relaxed"), "{refused}");
    }
}
