//! What may take the place of a running operator, and when: the decisions of a hot swap. Pure but for the words that are passed around.
//!
//! A **generation** is the number of the module version that runs; it rises by one at every switch, a return included. The first epoch of a new generation is its
//! **trial**: its outputs are held back until it is judged. After it comes **probation**, in which the generation before stays warm. A **return** goes back to the
//! code before, under a new number.

pub mod plan;
mod probation;
mod request;
pub mod restart;
mod status;
pub mod sweep;
mod trial;

pub use plan::{Refusal, StatePlan, StateVerdict, Surroundings, SwapPlan};
pub use probation::{Probation, ProbationRules, Standing};
pub use request::{SwapAnswer, SwapDone, SwapKind, SwapRefused, SwapRequest};
pub use status::{EventKind, GenerationStatus, MigrationStatus, SwapEvent, SwapPhase, SwapStatus};
pub use trial::{FaultPlace, Tally, TrialFailure, TrialRules, Verdict, judge};
