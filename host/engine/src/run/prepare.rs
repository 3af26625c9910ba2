use crate::ports::{OpenError, Operator, OperatorFactory};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

type Instances = Result<Vec<Box<dyn Operator>>, OpenError>;

/// Instances of a new version in the making, one for each worker, on a thread of their own: opening a guest takes what it takes.
pub(super) struct Preparation {
    operator: String,
    made: Receiver<Instances>,
}

impl Preparation {
    pub(super) fn begin(operator: &str, factory: &Arc<dyn OperatorFactory>, workers: usize) -> Self {
        let (maker, made) = channel();
        let factory = Arc::clone(factory);
        let make = move || {
            let instances = (0..workers).map(|_| factory.instantiate()).collect();
            // Whoever wanted them may have ended.
            let _ = maker.send(instances);
        };
        // Without a thread the sender is gone, which is told like a panic.
        let _ = std::thread::Builder::new().name("prepare".to_owned()).spawn(make);
        Self { operator: operator.to_owned(), made }
    }

    /// The instances, once they are made.
    pub(super) fn poll(&self) -> Option<Instances> {
        match self.made.try_recv() {
            Ok(made) => Some(made),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(OpenError {
                operator: self.operator.clone(),
                reason: "the thread that made its instances ended without them (a panic, or no thread could be had)"
                    .to_owned(),
            })),
        }
    }
}
