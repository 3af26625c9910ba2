//! Swaps in whole runs: somebody who asks for them at any time, and what came of it.

use crate::notes::Notes;
use crate::versions::{Manner, Version};
use crate::world::World;
use millstream_engine::fakes::Chance;
use millstream_engine::run::Control;
use millstream_engine::swap::{ProbationRules, SwapDone, SwapKind, SwapPhase, SwapRefused, SwapRequest, TrialRules};
use millstream_model::commit::CommitRecord;
use millstream_model::ids::{Digest, Generation};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What was asked for, and what was answered.
#[derive(Default, Clone)]
pub(crate) struct Answers(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    asked: u64,
    done: Vec<SwapDone>,
    refused: Vec<(Option<Version>, SwapRefused)>,
}

impl Answers {
    fn with<R>(&self, act: impl FnOnce(&mut Heard) -> R) -> R {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn hear(&self, version: Option<Version>, answer: Result<SwapDone, SwapRefused>) {
        self.with(|heard| match answer {
            Ok(done) => heard.done.push(done),
            Err(refused) => heard.refused.push((version, refused)),
        });
    }
}

/// Asks for swaps until the run is over.
pub(crate) fn ask(world: &World, control: &Control, is_over: &AtomicBool, mut chance: Chance) {
    let pace_us = 100 + chance.below(3_000);
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_micros(chance.below(pace_us)));
        let is_busy = world.answers.with(|heard| heard.asked > (heard.done.len() + heard.refused.len()) as u64);
        match chance.below(20) {
            _ if is_busy && chance.happens(980) => {}
            0..3 => rollback(world, control),
            3 => {
                control.pause();
                std::thread::sleep(Duration::from_micros(chance.below(2_000)));
                control.resume();
            }
            _ => deploy(world, control, &mut chance, is_busy),
        }
    }
    control.resume();
}

fn rollback(world: &World, control: &Control) {
    let answers = world.answers.clone();
    answers.with(|heard| heard.asked += 1);
    control.rollback("sum", Box::new(move |answer| answers.hear(None, answer)));
}

fn deploy(world: &World, control: &Control, chance: &mut Chance, is_busy: bool) {
    let version = Version::random(world.next_version(), chance);
    let status = control.board().swaps().into_iter().next();
    // That one is certain to fail: it may put out nothing at all, beside a version that is known to put out something and that nothing else takes the place of.
    let is_known = status.is_some_and(|status| status.phase == SwapPhase::Steady && status.done.emitted > 0);
    let is_flood = version.manner == Manner::Floods;
    if is_flood && (is_busy || !is_known) {
        return;
    }
    let answers = world.answers.clone();
    answers.with(|heard| heard.asked += 1);
    control.swap(SwapRequest {
        operator: "sum".to_owned(),
        factory: Arc::new(version.factory()),
        rules: TrialRules {
            records: 1 + chance.below(30),
            time_ms: 1 + chance.below(300),
            reject_ratio_max: chance.happens(700).then_some(0.0),
            output_ratio: Some((0.0, if is_flood { 0.0 } else { 20.0 })),
            sample_min: 1,
        },
        probation: ProbationRules {
            records: chance.below(60),
            time_ms: 1 + chance.below(500),
            failures_max: chance.below(3),
        },
        kind: if chance.happens(100) && !is_flood { SwapKind::Return } else { SwapKind::Deploy },
        done: Box::new(move |answer| answers.hear(Some(version), answer)),
    });
}

/// Whether answers were given, and the log says the same.
pub(crate) fn check(world: &World, commits: &[CommitRecord]) -> Result<(), String> {
    let committed = |generation: Option<Generation>, digest: Digest| {
        let operators = commits.iter().flat_map(|commit| &commit.operators);
        operators.into_iter().any(|operator| {
            operator.digest == digest && generation.is_none_or(|generation| generation == operator.generation)
        })
    };
    world.answers.with(|heard| {
        let answered = (heard.done.len() + heard.refused.len()) as u64;
        if answered != heard.asked {
            return Err(format!("{} swaps were asked for and {answered} answered", heard.asked));
        }
        for done in &heard.done {
            if !committed(Some(done.generation), done.digest) {
                return Err(format!("{done:?} was told and is not committed"));
            }
        }
        for (version, refused) in &heard.refused {
            let Some(version) = version else { continue };
            if committed(None, version.digest()) && !matches!(refused, SwapRefused::Ended { .. }) {
                return Err(format!("{version:?} was refused, and is committed: {refused}"));
            }
        }
        Ok(())
    })?;
    check_outputs(world, |version| committed(None, version.digest()))
}

/// What failed its trial was never written, not even into a transaction that was aborted. (A version that fails only on some records may pass one trial, be rolled back
/// with it, and fail the next; one that floods fails all of them.)
fn check_outputs(world: &World, is_committed: impl Fn(&Version) -> bool) -> Result<(), String> {
    let floods = world.answers.with(|heard| {
        let tried = heard.refused.iter().filter(|(_, refused)| matches!(refused, SwapRefused::Trial { .. }));
        let refused = tried.filter_map(|(version, _)| *version);
        refused.filter(|version| version.manner == Manner::Floods && !is_committed(version)).collect::<Vec<_>>()
    });
    let everything = world.everything_put_out();
    for version in floods {
        let tag = version.tag().into_bytes();
        if everything.iter().any(|value| value.ends_with(&tag)) {
            return Err(format!("{version:?} failed its trial, and its outputs were written"));
        }
    }
    Ok(())
}

/// Counts what happened.
pub(crate) fn note(world: &World, notes: &mut Notes) {
    let commits = world.commits();
    for (before, after) in commits.iter().zip(commits.iter().skip(1)) {
        let generation = |commit: &CommitRecord| commit.operators.first().map(|operator| operator.generation);
        if generation(before) == generation(after) && before.older_versions != after.older_versions {
            notes.count("swept", 1);
        }
    }
    world.answers.with(|heard| {
        for done in &heard.done {
            notes.count(if done.is_proven() { "switched" } else { "switched or returned, unproven" }, 1);
        }
        for (_, refused) in &heard.refused {
            notes.count(
                match refused {
                    SwapRefused::Busy { .. } => "refused: busy",
                    SwapRefused::Plan { .. } => "refused: plan",
                    SwapRefused::NoReturn { .. } => "refused: no return",
                    SwapRefused::Trial { .. } => "refused: trial",
                    SwapRefused::Ended { .. } => "refused: ended",
                    _ => "refused otherwise",
                },
                1,
            );
        }
    });
}
