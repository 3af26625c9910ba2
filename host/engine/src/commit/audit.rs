use super::decide::{self, Resolving};
use super::{Committer, Stop};
use crate::ports::LogErrorKind;

impl Committer {
    /// Looks whether the log still says what this process believes: nobody has taken the pipeline, and the newest commit is visible. A busy pipeline finds
    /// out by its next commit; an idle one asks. Between epochs only.
    ///
    /// # Errors
    /// When the pipeline cannot go on.
    pub fn audit(&mut self) -> Result<(), Stop> {
        if self.ports.log.is_none() || self.open.is_begun {
            return Ok(());
        }
        let ours = Resolving {
            lineage: self.lineage,
            incarnation: self.incarnation,
            in_flight: None,
            applied: self.applied.as_ref().map(|applied| applied.token),
        };
        match self.read_log() {
            Ok(found) => decide::at_resolve(&found, &ours).map(|_| ()),
            // Brokers that do not answer now are no reason to stop an idle pipeline.
            Err(Stop::Log(error)) if error.kind != LogErrorKind::Fatal => {
                tracing::debug!(%error, "the log could not be looked at");
                Ok(())
            }
            Err(stop) => Err(stop),
        }
    }
}
