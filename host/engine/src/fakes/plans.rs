//! Plans for tests, and the nodes they are made of.

use millstream_model::descriptor::{Descriptor, InputDescriptor, TimerClock, TimerDescriptor};
use millstream_model::ids::{OperatorIndex, SinkIndex};
use millstream_model::plan::{NullKeyPolicy, OperatorNode, Plan, SinkNode, SourceNode, Target};

/// A source with this id that feeds these operators.
#[must_use]
pub fn source(id: &str, operators: &[u16]) -> SourceNode {
    let to = |operator: &u16| Target::Operator { operator: OperatorIndex(*operator), input: 0 };
    SourceNode { id: id.to_owned(), targets: operators.iter().map(to).collect(), time: Default::default() }
}

/// An operator with one input and an output that leads to these targets.
#[must_use]
pub fn operator(id: &str, stage: u32, keyed: bool, targets: Vec<Target>) -> OperatorNode {
    let descriptor = Descriptor {
        inputs: vec![InputDescriptor::records("in")],
        outputs: vec!["out".to_owned()],
        ..Descriptor::default()
    };
    OperatorNode {
        id: id.to_owned(),
        config: "{}".to_owned(),
        name: id.to_owned(),
        digest: Default::default(),
        generation: Default::default(),
        descriptor,
        keyed,
        stage,
        outputs: vec![targets],
        limits: Default::default(),
        on_error: Default::default(),
        retries: 0,
        null_key: NullKeyPolicy::Reject,
        output_time: None,
        windows: None,
        late: Vec::new(),
    }
}

/// A timer of an operator.
#[must_use]
pub fn timer(name: &str, clock: TimerClock) -> TimerDescriptor {
    TimerDescriptor { name: name.to_owned(), clock }
}

/// A plan of these sources and operators, with the sinks `out` and `letters`, which takes the dead letters.
#[must_use]
pub fn plan(sources: Vec<SourceNode>, operators: Vec<OperatorNode>, workers: u32) -> Plan {
    Plan {
        id: "fake".to_owned(),
        sources,
        operators,
        sinks: ["out", "letters"].map(|id| SinkNode { id: id.to_owned() }).to_vec(),
        dead_letters: Some(SinkIndex(1)),
        workers,
        batch: Default::default(),
        commit: Default::default(),
        checkpoint_interval_ms: None,
        state_memory_bytes: 1 << 20,
    }
}

/// Two sources, `left` and `right`, that feed a keyed operator with an event timer.
#[must_use]
pub fn two_sources_into_one(workers: u32) -> Plan {
    let mut timed = operator("timed", 1, true, vec![Target::Sink(SinkIndex(0))]);
    timed.descriptor.timers.push(timer("due", TimerClock::Event));
    plan(vec![source("left", &[0]), source("right", &[0])], vec![timed], workers)
}
