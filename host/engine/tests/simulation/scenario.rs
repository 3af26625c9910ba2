use millstream_engine::fakes::{Chance, LogFaults};

/// Where records go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Both sinks are topics.
    Topics,
    /// A topic and a file.
    TopicAndFile,
    /// Two files, and no log.
    Files,
}

/// What a seed makes of the world.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    /// Whether a second process, with a directory of its own, takes the pipeline now and then.
    pub(crate) has_rival: bool,
    /// Whether the first directory was filled from a checkpoint of another history.
    pub(crate) is_seeded: bool,
    /// End of each source partition.
    pub(crate) ends: Vec<i64>,
    pub(crate) faults: LogFaults,
    /// How often a process dies within a turn, in a thousand.
    pub(crate) deaths: u32,
    /// How often it stands still for a while.
    pub(crate) pauses: u32,
    pub(crate) turns: u64,
}

impl Scenario {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let kind = match chance.below(10) {
            0..=5 => Kind::Topics,
            6..=7 => Kind::TopicAndFile,
            _ => Kind::Files,
        };
        let faults = faults(chance);
        Self {
            kind,
            // Two machines do not share a file.
            has_rival: kind == Kind::Topics && chance.happens(500),
            is_seeded: kind != Kind::Files && chance.happens(150),
            ends: (0..1 + chance.below(3)).map(|_| 4 + chance.below(24) as i64).collect(),
            faults,
            deaths: one_of(chance, &[0, 50, 250]),
            pauses: one_of(chance, &[0, 100, 400]),
            turns: 15 + chance.below(35),
        }
    }

    /// Whether a late request may end another transaction than its own without anybody noticing.
    pub(crate) fn has_ghosts(&self) -> bool {
        self.faults.end_late > 0 && self.faults.end_late_unnoticed > 0
    }
}

fn one_of(chance: &mut Chance, of: &[u32]) -> u32 {
    chance.pick(of).copied().unwrap_or(0)
}

fn faults(chance: &mut Chance) -> LogFaults {
    if chance.happens(100) {
        return LogFaults::default();
    }
    LogFaults {
        delivery: one_of(chance, &[0, 2, 20]),
        end_lost: one_of(chance, &[0, 50, 300]),
        answer_lost: one_of(chance, &[0, 50, 300]),
        end_late: one_of(chance, &[0, 100, 400]),
        end_late_unnoticed: one_of(chance, &[0, 0, 300]),
        init: one_of(chance, &[0, 20, 150]),
        read: one_of(chance, &[0, 20, 150]),
        vague: one_of(chance, &[0, 50, 200]),
    }
}
