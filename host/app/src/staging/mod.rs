//! Makes a module ready to take over a running operator, off the data path: everything up to the request that the engine gets.

mod background;
mod refused;
mod sample;

pub(crate) use background::Background;
pub(crate) use refused::Refused;
pub(crate) use sample::Sample;

use crate::capabilities::{self, Capability};
use crate::compose::{Deploy, Made, Workshop};
use crate::config::OperatorSpec;
use crate::modules::Modules;
use millstream_engine::run::Control;
use millstream_engine::swap::{
    ProbationRules, ShadowAnswer, SwapAnswer, SwapKind, SwapPlan, SwapRefused, SwapRequest, TrialRules,
};
use millstream_model::ids::Digest;
use millstream_wasm::ModuleSource;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Modules of which imports are remembered, beside those that run.
const REMEMBERED_MAX: usize = 256;

/// What makes modules ready.
pub(crate) struct Staging {
    parts: StagingParts,
    /// What each module imports that runs or ran.
    imports: Mutex<HashMap<Digest, BTreeSet<String>>>,
    /// What runs as a shadow, and beside which operator; or did last.
    shadow: Mutex<Option<(String, Made)>>,
}

/// What a [`Staging`] is made of.
pub(crate) struct StagingParts {
    pub(crate) workshop: Workshop,
    pub(crate) specs: Vec<OperatorSpec>,
    pub(crate) modules: Modules,
    pub(crate) control: Arc<Control>,
    pub(crate) background: Background,
}

/// A module that is to take over.
#[derive(Debug)]
pub(crate) enum Offered {
    /// Its bytes, and what to call them.
    Bytes(String, Vec<u8>),
    /// `name@version` of the plugin store, or the sha256 of a module that ran before.
    Named(String),
}

/// Which module is to take over which operator.
#[derive(Debug)]
pub(crate) struct Proposal {
    pub(crate) operator: String,
    pub(crate) module: Offered,
    /// Interfaces that it may import beyond what the version before it imports.
    pub(crate) allow: Vec<String>,
}

/// What a swap is asked with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    pub(crate) trial: TrialRules,
    pub(crate) probation: ProbationRules,
}

/// A module that is ready.
pub(crate) struct Staged {
    pub(crate) operator: String,
    pub(crate) made: Made,
    pub(crate) plan: SwapPlan,
    pub(crate) growth: Vec<Capability>,
}

impl Staging {
    /// `running` are the operators that the run begins with.
    pub(crate) fn new(parts: StagingParts, running: &[Made]) -> Self {
        let imports = running.iter().map(|made| (made.digest(), made.imports())).collect();
        Self { parts, imports: Mutex::new(imports), shadow: Mutex::default() }
    }

    /// Where work is done that gives way to everything else.
    pub(crate) fn background(&self) -> &Background {
        &self.parts.background
    }

    /// Looks at a module: what it is, whether it fits, what would become of state. Changes nothing.
    pub(crate) fn stage(&self, proposal: Proposal) -> Result<Staged, Refused> {
        let Proposal { operator, module, mut allow } = proposal;
        let specs = &self.parts.specs;
        let Some(spec) = specs.iter().find(|spec| spec.id == operator) else {
            let known = specs.iter().map(|spec| spec.id.clone()).collect();
            return Err(Refused::Engine(SwapRefused::NoOperator { operator, known }));
        };
        let source = self.source(module)?;
        let made = self.parts.workshop.make(spec, source).map_err(|unfit| Refused::Unfit(unfit.text()))?;
        let digest = made.digest();
        let board = self.parts.control.board();
        let current = board.swaps().into_iter().find(|status| status.operator == operator);
        if let Some(current) = current.as_ref().filter(|current| current.digest == digest) {
            return Err(Refused::Runs { operator, digest, generation: current.generation });
        }
        let plan = board.judge_swap(&operator, made.factory.descriptor()).map_err(Refused::Engine)?;
        allow.extend(spec.allow.iter().cloned());
        let imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        let before = current.and_then(|current| imports.get(&current.digest)).cloned().unwrap_or_default();
        drop(imports);
        let growth = capabilities::growth(&before, &made.imports(), &allow);
        Ok(Staged { operator, made, plan, growth })
    }

    /// Tries what a module would do with values that are stored.
    pub(crate) fn sample(&self, staged: &Staged) -> Result<Vec<Sample>, Refused> {
        sample::sample(&self.parts.control, staged)
    }

    /// Asks for a module to take over. `done` hears how it went; an error here means that nothing was asked for.
    pub(crate) fn swap(&self, staged: Staged, rules: Rules, done: SwapAnswer) -> Result<(), Refused> {
        check_growth(&staged)?;
        rules.trial.check().map_err(|text| Refused::Engine(SwapRefused::Rules(text)))?;
        self.ask(staged.operator, staged.made, (rules, SwapKind::Deploy), done)
    }

    /// Asks for a module to run beside what runs. `done` hears that it began; an error here means that nothing was asked for.
    pub(crate) fn shadow(&self, staged: Staged, done: ShadowAnswer) -> Result<(), Refused> {
        check_growth(&staged)?;
        let Staged { operator, made, .. } = staged;
        self.parts.control.shadow(&operator, Arc::clone(&made.factory), done);
        *self.shadow.lock().unwrap_or_else(PoisonError::into_inner) = Some((operator, made));
        Ok(())
    }

    /// Asks for what runs as an operator's shadow to take over.
    pub(crate) fn promote(&self, operator: &str, rules: Rules, done: SwapAnswer) -> Result<(), Refused> {
        let none = || Refused::Engine(SwapRefused::NoShadow { operator: operator.to_owned() });
        rules.trial.check().map_err(|text| Refused::Engine(SwapRefused::Rules(text)))?;
        let shown = self.parts.control.board().swaps().into_iter().find(|status| status.operator == operator);
        let running = shown.and_then(|status| status.shadow).filter(|shadow| shadow.over.is_none());
        let digest = running.ok_or_else(none)?.digest;
        let shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (operator, made) = shadow.filter(|(_, made)| made.digest() == digest).ok_or_else(none)?;
        self.ask(operator, made, (rules, SwapKind::Deploy), done)
    }

    /// Asks for what the pipeline file names to take over from what ran before the start.
    pub(crate) fn deploy(&self, deploy: Deploy, done: SwapAnswer) -> Result<(), Refused> {
        let Deploy { operator, made } = deploy;
        self.ask(operator, made, (Rules::default(), SwapKind::Restart), done)
    }

    fn ask(
        &self,
        operator: String,
        made: Made,
        (rules, kind): (Rules, SwapKind),
        done: SwapAnswer,
    ) -> Result<(), Refused> {
        // Whatever a commit names can be had again.
        let kept = self.parts.modules.keep(made.digest(), made.source.contents());
        kept.map_err(|failure| Refused::Failed(failure.text))?;
        self.remember(&made);
        let Rules { trial, probation } = rules;
        let request = SwapRequest { operator, factory: made.factory, rules: trial, probation, kind, done };
        self.parts.control.swap(request);
        Ok(())
    }

    /// Remembers what a module imports that may run from now on, and forgets it of those that do not any more.
    fn remember(&self, made: &Made) {
        let mut imports = self.imports.lock().unwrap_or_else(PoisonError::into_inner);
        if imports.len() >= REMEMBERED_MAX {
            let ran: Vec<Digest> = self.parts.control.board().swaps().iter().map(|status| status.digest).collect();
            imports.retain(|digest, _| ran.contains(digest));
        }
        imports.insert(made.digest(), made.imports());
    }

    fn source(&self, module: Offered) -> Result<ModuleSource, Refused> {
        let name = match module {
            Offered::Bytes(name, bytes) => return Ok(ModuleSource::bytes(name, bytes)),
            Offered::Named(name) => name,
        };
        if let Some(digest) = Digest::parse(&name) {
            let found = self.parts.modules.find(digest).map_err(|failure| Refused::Failed(failure.text))?;
            return found.map(|bytes| ModuleSource::bytes(name, bytes)).ok_or_else(|| {
                let text = "it is not in the plugin store, and none that ran in this pipeline has that digest";
                Refused::NoModule(format!("there is no module {digest}: {text}"))
            });
        }
        if !name.contains('@') {
            let text = "name it as `name@version` of the plugin store, or by its sha256; a file is sent as it is";
            return Err(Refused::NoModule(format!("`{name}` is no name of a module: {text}")));
        }
        self.parts.workshop.from_plugins(&name).map_err(|failure| Refused::NoModule(failure.text))
    }
}

/// Whether it reaches for no more than it may.
fn check_growth(staged: &Staged) -> Result<(), Refused> {
    let Some(text) = capabilities::refusal(&staged.growth) else { return Ok(()) };
    let needed = capabilities::needed(&staged.growth).into_iter().map(str::to_owned).collect();
    Err(Refused::Capabilities { operator: staged.operator.clone(), text, needed })
}
