//! After a start: has the modules take over that the pipeline file names and that have not run yet, one after the other.

use crate::compose::Deploy;
use crate::error::{Failure, Outcome};
use crate::staging::{Refused, Staging};
use millstream_engine::swap::{SwapDone, SwapRefused};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long to wait where somebody else's swap is under way.
const BUSY_PAUSE: Duration = Duration::from_secs(1);

/// Begins; what comes of it is in the log and in the status.
pub(crate) fn deploy(staging: &Arc<Staging>, deploys: Vec<Deploy>) -> Outcome<()> {
    if deploys.is_empty() {
        return Ok(());
    }
    let staging = Arc::clone(staging);
    let all = move || {
        for deploy in deploys {
            if !one(&staging, &deploy) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("deploys".to_owned()).spawn(all).map_err(Failure::failed)?;
    Ok(())
}

/// Deploys one and tells whether the run goes on.
fn one(staging: &Staging, deploy: &Deploy) -> bool {
    let operator = &deploy.operator;
    tracing::info!(operator, digest = %deploy.made.digest(), "the pipeline file names another module than ran before: it is tried");
    loop {
        match decided(staging, deploy) {
            Ok(done) => {
                tracing::info!(operator, generation = %done.generation, proven = done.is_proven(), "the module in the pipeline file took over");
                return true;
            }
            Err(Refused::Engine(SwapRefused::Busy { .. })) => std::thread::sleep(BUSY_PAUSE),
            Err(Refused::Engine(SwapRefused::Ended { .. })) => return false,
            Err(refused) => {
                tracing::error!(
                    operator,
                    "the module in the pipeline file was refused, and the version before goes on: {refused}"
                );
                return true;
            }
        }
    }
}

fn decided(staging: &Staging, deploy: &Deploy) -> Result<SwapDone, Refused> {
    let (done, decided) = channel();
    let answer = move |decision| {
        // Whoever waits is below.
        let _ = done.send(decision);
    };
    staging.deploy(deploy.clone(), Box::new(answer))?;
    let ended = || SwapRefused::Ended { operator: deploy.operator.clone(), failure: None };
    decided.recv().unwrap_or_else(|_| Err(ended())).map_err(Refused::Engine)
}
