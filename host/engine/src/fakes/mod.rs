//! Fakes of the ports, which fail as the real things do: a log with late and lost requests, a store that forgets what was not synced, a file that ends
//! in the middle. What happens is decided by a seed ([`Chance`]), so that it happens again.
//!
//! Things that outlive a process ([`FakeCluster`], [`FakeDisk`], [`FakeFile`]) are apart from a process's hands on them ([`FakeLog`], [`FakeState`],
//! [`FakeSink`]), which end with its [`Life`].

mod broker;
mod chance;
mod clock;
mod cluster;
mod life;
mod log;
mod operator;
pub mod plans;
mod sink;
mod source;
mod state;

pub use broker::{Entry, Fate};
pub use chance::Chance;
pub use clock::FakeClock;
pub use cluster::{FakeCluster, LogFaults, Topic};
pub use life::Life;
pub use log::{FakeCommitsReader, FakeLog};
pub use operator::FakeOperator;
pub use sink::{FakeFile, FakeSink};
pub use source::{FakeRecord, FakeSource};
pub use state::{FakeDisk, FakeState};
