use crate::call::Call;
use crate::ports::{CallError, OpenError, Operator, OperatorFactory};
use millstream_model::descriptor::Descriptor;
use millstream_model::ids::Digest;
use std::sync::Arc;

/// What an operator does with a call.
type Work = Arc<dyn Fn(&mut Call) -> Result<(), CallError> + Send + Sync>;

/// An operator that is a function of the host's.
#[derive(Clone)]
pub struct FakeOperator {
    descriptor: Descriptor,
    digest: Digest,
    work: Work,
}

impl FakeOperator {
    /// An operator that describes itself so and does this.
    pub fn new(
        descriptor: Descriptor,
        work: impl Fn(&mut Call) -> Result<(), CallError> + Send + Sync + 'static,
    ) -> Self {
        Self { descriptor, digest: Digest::default(), work: Arc::new(work) }
    }

    /// The same, of a module with this digest.
    #[must_use]
    pub fn of_module(self, digest: Digest) -> Self {
        Self { digest, ..self }
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
}
