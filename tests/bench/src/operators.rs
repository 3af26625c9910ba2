//! The operators that are measured, in the sandbox and without.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, anyhow};
use millstream_engine::ports::OperatorFactory;
use millstream_model::ids::Generation;
use millstream_model::plan::OperatorNode;
use millstream_wasm::{Engine, EngineSettings, ModuleSource, OperatorConfig};
use serde::{Deserialize, Serialize};

use crate::native::{self, Native};

/// What is done with records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Forwards.
    Identity,
    /// Counts per key.
    Count,
    /// Parses JSON and keeps some.
    JsonFilter,
    /// Sets a timer per record, which fires as many records later as there are keys.
    Remind,
}

/// Where it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    /// In a Wasm module.
    Wasm,
    /// In the host itself.
    Native,
}

impl Place {
    /// As it is called in figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Wasm => "wasm",
            Self::Native => "native",
        }
    }
}

/// Path of a built module.
#[must_use]
pub fn module_path(work: Work) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.join(match work {
        Work::Identity => "tests/guests/dist/identity.wasm",
        Work::Count => "plugins/dist/count.wasm",
        Work::JsonFilter => "tests/guests/dist/json-filter.wasm",
        Work::Remind => "tests/guests/dist/reminders.wasm",
    })
}

/// Makes an operator for records of so many keys.
///
/// # Errors
/// If its module was not built or does not load.
pub fn operator(work: Work, place: Place, keys: u64) -> Result<Arc<dyn OperatorFactory>> {
    let path = module_path(work);
    let source = ModuleSource::file(&path).context("run `make plugins guests` first")?;
    let engine = Engine::new(EngineSettings::default()).map_err(|error| anyhow!("{error}"))?;
    let module = engine.load(&source)?;
    let text = if work == Work::Remind { format!("{{\"after_ms\": {keys}}}") } else { String::new() };
    let config = OperatorConfig { id: "subject".to_owned(), config: text, ..OperatorConfig::default() };
    let guest = engine.operator(&module, config)?;
    let native = match work {
        Work::Identity => Native::Identity,
        Work::Count => Native::Count,
        Work::JsonFilter => Native::JsonFilter,
        Work::Remind => Native::Remind { after_ms: keys as i64 },
    };
    Ok(match place {
        Place::Wasm => guest,
        Place::Native => native::factory(native, guest.descriptor().clone()),
    })
}

/// The operator's place in a plan; its outputs lead nowhere yet.
#[must_use]
pub fn node(factory: &dyn OperatorFactory) -> OperatorNode {
    let descriptor = factory.descriptor().clone();
    let keyed = descriptor.is_keyed();
    OperatorNode {
        id: "subject".to_owned(),
        config: "{}".to_owned(),
        name: "subject".to_owned(),
        digest: factory.digest(),
        generation: Generation(1),
        outputs: vec![Vec::new(); descriptor.outputs.len()],
        descriptor,
        keyed,
        stage: u32::from(keyed),
        limits: Default::default(),
        on_error: Default::default(),
        retries: 0,
        null_key: Default::default(),
        output_time: None,
        windows: None,
        late: Vec::new(),
    }
}
