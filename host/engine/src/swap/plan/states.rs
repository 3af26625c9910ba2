use super::{OlderVersions, Refusal};
use millstream_model::commit::CommitRecord;
use millstream_model::descriptor::{Descriptor, StateDescriptor};
use millstream_model::plan::Plan;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "verdict")]
pub enum StateVerdict {
    /// The same bytes are read and written.
    Same,
    /// The new module reads these versions as they are.
    Readable {
        /// The versions that lie about.
        from: Vec<u32>,
    },
    /// The new module rewrites values of these versions, each before it is read, and all of them in the background.
    Migrates {
        /// The versions that lie about and are migrated.
        from: Vec<u32>,
    },
    /// It begins empty.
    New,
    /// The new module does not have it; its cells stay.
    Vanished,
}

/// What becomes of one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StatePlan {
    /// Its name.
    pub name: String,
    /// The version written after the switch, or before it by a state that vanishes.
    pub version: u32,
    /// What becomes of it.
    #[serde(flatten)]
    pub verdict: StateVerdict,
}

impl StatePlan {
    /// What a person should know of it before.
    pub(super) fn note(&self) -> Option<String> {
        let Self { name, version, verdict } = self;
        match verdict {
            StateVerdict::Same => None,
            StateVerdict::Readable { from } => {
                Some(format!("state `{name}`: version {version} is written, {} read as they are", text(from)))
            }
            StateVerdict::Migrates { from } => Some(format!(
                "state `{name}`: values of {} are migrated to version {version}, each before it is read and all in the background; no other version until that is done",
                text(from)
            )),
            StateVerdict::New => Some(format!("state `{name}` is new and begins empty")),
            StateVerdict::Vanished => Some(format!(
                "state `{name}` is not there any more: its cells stay, and a later module that has it again finds them"
            )),
        }
    }
}

fn text(versions: &[u32]) -> String {
    let numbers: Vec<String> = versions.iter().map(u32::to_string).collect();
    format!("version{} {}", if versions.len() == 1 { "" } else { "s" }, numbers.join(", "))
}

fn find<'a>(descriptor: &'a Descriptor, name: &str) -> Option<&'a StateDescriptor> {
    descriptor.states.iter().find(|state| state.name == name)
}

/// What becomes of every state, and the versions that may lie about afterwards.
pub(super) fn judge(
    old: &Descriptor,
    new: &Descriptor,
    older: &OlderVersions,
    refusals: &mut Vec<Refusal>,
) -> (Vec<StatePlan>, OlderVersions) {
    let mut plans = Vec::new();
    let mut after = older.clone();
    for state in &new.states {
        let before = find(old, &state.name);
        let mut about: BTreeSet<u32> = older.get(&state.name).into_iter().flatten().copied().collect();
        let refused = refusals.len();
        if let Some(before) = before {
            refuse_kind(before, state, refusals);
            refuse_clock(before, state, refusals);
            refuse_third_version(before, state, &about, refusals);
            about.insert(before.version);
        }
        about.remove(&state.version);
        if refused == refusals.len() {
            refuse_unread(state, &about, refusals);
        }
        plans.push(StatePlan {
            name: state.name.clone(),
            version: state.version,
            verdict: verdict(before.is_some() || older.contains_key(&state.name), state, &about),
        });
        set(&mut after, &state.name, about);
    }
    for state in old.states.iter().filter(|state| find(new, &state.name).is_none()) {
        let mut about: BTreeSet<u32> = older.get(&state.name).into_iter().flatten().copied().collect();
        about.insert(state.version);
        set(&mut after, &state.name, about);
        plans.push(StatePlan { name: state.name.clone(), version: state.version, verdict: StateVerdict::Vanished });
    }
    (plans, after)
}

fn set(versions: &mut OlderVersions, name: &str, about: BTreeSet<u32>) {
    if about.is_empty() {
        versions.remove(name);
    } else {
        versions.insert(name.to_owned(), about.into_iter().collect());
    }
}

fn verdict(is_known: bool, state: &StateDescriptor, about: &BTreeSet<u32>) -> StateVerdict {
    if about.is_empty() {
        return if is_known { StateVerdict::Same } else { StateVerdict::New };
    }
    let (migrated, read): (Vec<u32>, Vec<u32>) =
        about.iter().partition(|version| state.migrates_versions.contains(version));
    if migrated.is_empty() { StateVerdict::Readable { from: read } } else { StateVerdict::Migrates { from: migrated } }
}

fn refuse_kind(before: &StateDescriptor, state: &StateDescriptor, refusals: &mut Vec<Refusal>) {
    if before.kind != state.kind {
        refusals.push(Refusal {
            what: format!("state `{}`", state.name),
            reason: format!("is of kind {:?}, and of kind {:?} in the module", before.kind, state.kind),
            advice: "give the state of the new kind another name".to_owned(),
        });
    }
}

/// Times by one clock mean nothing to the other. A time to live may come, go and change.
fn refuse_clock(before: &StateDescriptor, state: &StateDescriptor, refusals: &mut Vec<Refusal>) {
    if let (Some(old), Some(new)) = (before.ttl, state.ttl)
        && old.clock != new.clock
    {
        refusals.push(Refusal {
            what: format!("state `{}`", state.name),
            reason: format!("lives by {:?} time, and by {:?} time in the module", old.clock, new.clock).to_lowercase(),
            advice: "give the state with the other clock another name".to_owned(),
        });
    }
}

/// Cells of three versions would lie about, and of one of them only the version before knows how to migrate it.
fn refuse_third_version(
    before: &StateDescriptor,
    state: &StateDescriptor,
    about: &BTreeSet<u32>,
    refusals: &mut Vec<Refusal>,
) {
    let is_swept = before.migrates_versions.iter().any(|version| about.contains(version));
    let is_third = state.version != before.version && !about.contains(&state.version);
    if is_swept && is_third {
        let about: Vec<u32> = about.iter().copied().collect();
        refusals.push(Refusal {
            what: format!("state `{}`", state.name),
            reason: format!(
                "is still being migrated from {} to {}, and the module would write version {}",
                text(&about),
                before.version,
                state.version
            ),
            advice: "wait until `status` says that the migration is done".to_owned(),
        });
    }
}

/// States with values that a module cannot read, when these versions lie about.
#[must_use]
pub fn unread(descriptor: &Descriptor, older: &OlderVersions) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for state in &descriptor.states {
        let mut about: BTreeSet<u32> = older.get(&state.name).into_iter().flatten().copied().collect();
        about.remove(&state.version);
        refuse_unread(state, &about, &mut refusals);
    }
    refusals
}

fn refuse_unread(state: &StateDescriptor, about: &BTreeSet<u32>, refusals: &mut Vec<Refusal>) {
    let unread = |version: &&u32| !state.reads_versions.contains(version) && !state.migrates_versions.contains(version);
    let unread: Vec<u32> = about.iter().filter(unread).copied().collect();
    if !unread.is_empty() {
        refusals.push(Refusal {
            what: format!("state `{}`", state.name),
            reason: format!(
                "holds values of {}, and the module, which writes version {}, neither reads nor migrates them",
                text(&unread),
                state.version
            ),
            advice: "let the module read or migrate these versions, or give the state another name to begin it empty"
                .to_owned(),
        });
    }
}

/// Whether values in memory stay as they are. They carry no version: one that was read as it is must not reach code that would migrate it. With a time to live they are held in
/// another form than without.
pub(super) fn keep_cache(old: &Descriptor, new: &Descriptor, older: &OlderVersions) -> bool {
    let stays = |before: &StateDescriptor, after: &StateDescriptor| {
        let about = older.get(&before.name).into_iter().flatten();
        before.name == after.name
            && before.kind == after.kind
            && before.version == after.version
            && before.ttl.is_some() == after.ttl.is_some()
            && about
                .into_iter()
                .all(|version| !before.reads_versions.contains(version) || after.reads_versions.contains(version))
    };
    old.states.len() == new.states.len()
        && old.states.iter().zip(&new.states).all(|(before, after)| stays(before, after))
}

/// Versions that may lie about when a run begins behind a commit: what the commit says, and what it was written by where that was not what runs now.
#[must_use]
pub fn older_at_start(newest: &CommitRecord, plan: &Plan) -> BTreeMap<String, OlderVersions> {
    let mut older = newest.older_versions.clone();
    for operator in &newest.operators {
        let states = older.entry(operator.id.clone()).or_default();
        for (state, written) in &operator.state_versions {
            states.entry(state.clone()).or_default().push(*written);
        }
    }
    for (id, states) in &mut older {
        let node = plan.operators.iter().find(|node| node.id == *id);
        for (name, versions) in states.iter_mut() {
            let writes = node.and_then(|node| find(&node.descriptor, name)).map(|state| state.version);
            versions.sort_unstable();
            versions.dedup();
            versions.retain(|version| Some(*version) != writes);
        }
        states.retain(|_, versions| !versions.is_empty());
    }
    older.retain(|_, states| !states.is_empty());
    older
}
