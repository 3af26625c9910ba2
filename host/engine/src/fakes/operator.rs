use crate::call::Call;
use crate::ports::{CallError, OldValues, OpenError, Operator, OperatorFactory};
use millstream_model::column::BytesColumn;
use millstream_model::descriptor::Descriptor;
use millstream_model::ids::Digest;
use std::sync::Arc;

/// What an operator does with a call, of records or of timers.
type Work = Arc<dyn Fn(&mut Call) -> Result<(), CallError> + Send + Sync>;

/// What it makes of old values.
type Migrate = Arc<dyn Fn(OldValues<'_>) -> Result<BytesColumn, CallError> + Send + Sync>;

/// An operator that is a function of the host's.
#[derive(Clone)]
pub struct FakeOperator {
    descriptor: Descriptor,
    digest: Digest,
    work: Work,
    migrate: Option<Migrate>,
}

impl FakeOperator {
    /// An operator that describes itself so and does this.
    pub fn new(
        descriptor: Descriptor,
        work: impl Fn(&mut Call) -> Result<(), CallError> + Send + Sync + 'static,
    ) -> Self {
        Self { descriptor, digest: Digest::default(), work: Arc::new(work), migrate: None }
    }

    /// The same, of a module with this digest.
    #[must_use]
    pub fn of_module(self, digest: Digest) -> Self {
        Self { digest, ..self }
    }

    /// The operator, migrating old values so.
    #[must_use]
    pub fn migrating(
        self,
        migrate: impl Fn(OldValues<'_>) -> Result<BytesColumn, CallError> + Send + Sync + 'static,
    ) -> Self {
        Self { migrate: Some(Arc::new(migrate)), ..self }
    }
}

impl OperatorFactory for FakeOperator {
    fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn instantiate(&self) -> Result<Box<dyn Operator>, OpenError> {
        Ok(Box::new(self.clone()))
    }
}

impl Operator for FakeOperator {
    fn process(&mut self, mut call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        let worked = (self.work)(&mut call);
        (call, worked)
    }

    fn on_timers(&mut self, call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        self.process(call)
    }

    fn on_windows(&mut self, call: Box<Call>) -> (Box<Call>, Result<(), CallError>) {
        self.process(call)
    }

    fn migrate(&mut self, old: OldValues<'_>) -> Result<BytesColumn, CallError> {
        match &self.migrate {
            Some(migrate) => migrate(old),
            None => Err(CallError::Host("asked to migrate what it does not".to_owned())),
        }
    }
}
