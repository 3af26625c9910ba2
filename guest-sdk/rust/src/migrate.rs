//! State that older versions of the operator wrote.

use crate::{Codec, List, Map, Operator, Result, Value, column::Column, descriptor::Descriptor, error::Error, stop};

/// An operator that rewrites the state its older versions wrote. Named in the export macro: `"count": Count with Migrate`.
///
/// A state says which versions it rewrites, and `migrate` how, value by value. The host asks for it before records of a key are processed, and in the background for
/// all other keys; [`Operator::process`] only ever sees values of the version it writes, or of one it [reads](crate::State::reads) as it is.
///
/// ```
/// use millstream_sdk::{Context, Migrate, OldValue, Operator, Output, Postcard, Record, Result, Setup, State, Value, export_operators};
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// struct Visits { count: u64, last_ms: Option<i64> }
///
/// struct Count { visits: Value<Postcard<Visits>>, counts: Output }
///
/// impl Operator for Count {
///     fn open(setup: &mut Setup) -> Result<Self> {
///         let visits = setup.value(State::new("visits").version(2).migrates(1));
///         Ok(Self { visits, counts: setup.output("counts") })
///     }
///     fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
///         let count = self.visits.get(ctx)?.map_or(0, |Postcard(visits)| visits.count) + 1;
///         self.visits.set(ctx, &Postcard(Visits { count, last_ms: Some(record.timestamp_ms()) }));
///         ctx.emit_display(self.counts, count);
///         Ok(())
///     }
/// }
///
/// impl Migrate for Count {
///     fn migrate(&self, value: &mut OldValue) -> Result<()> {
///         value.rewrite(self.visits, 1, |count: u64| Ok(Postcard(Visits { count, last_ms: None })))
///     }
/// }
///
/// export_operators! { "count": Count with Migrate }
/// ```
pub trait Migrate: Operator {
    /// Rewrites the value in hand: one [`OldValue::rewrite`] for each state and version that `open` declares, none of them in a branch. The same bytes have to give the same
    /// result, however often they are rewritten.
    ///
    /// # Errors
    /// [`Error::Reject`] leaves the value as it is; records of its key are rejected with the reason as long as it is so. [`Error::Stop`] stops the pipeline. Any other
    /// error becomes `Reject` by `?`.
    fn migrate(&self, value: &mut OldValue<'_>) -> Result<()>;
}

/// A value that an older version wrote, to be rewritten.
#[derive(Debug)]
pub struct OldValue<'v> {
    hand: Hand<'v>,
}

#[derive(Debug)]
enum Hand<'v> {
    /// None: the states and versions that there is a `rewrite` for are collected.
    Probe(Vec<(u32, u32)>),
    Value {
        state: u32,
        from_version: u32,
        old: &'v [u8],
        new: &'v mut Column,
        is_rewritten: bool,
    },
}

/// A handle of a state whose values can be rewritten.
pub trait Rewritable: sealed::Sealed {
    /// What the state holds.
    type Value: Codec;

    #[doc(hidden)]
    fn state(&self) -> u32;
}

mod sealed {
    pub trait Sealed {}
}

impl<T> sealed::Sealed for Value<T> {}

impl<T: Codec> Rewritable for Value<T> {
    type Value = T;

    fn state(&self) -> u32 {
        self.index()
    }
}

impl<K, V> sealed::Sealed for Map<K, V> {}

impl<K, V: Codec> Rewritable for Map<K, V> {
    type Value = V;

    fn state(&self) -> u32 {
        self.index()
    }
}

impl<T> sealed::Sealed for List<T> {}

impl<T: Codec> Rewritable for List<T> {
    type Value = T;

    fn state(&self) -> u32 {
        self.index()
    }
}

impl OldValue<'_> {
    /// Rewrites the value if that version wrote it into that state, else does nothing. What `make` returns is the new value, or `None` to remove it.
    ///
    /// # Errors
    /// Those of `make`, and of the encodings: the bytes are no `Old`.
    pub fn rewrite<S: Rewritable, Old: Codec, New: Into<Option<S::Value>>>(
        &mut self,
        state: S,
        from_version: u32,
        make: impl FnOnce(Old) -> Result<New>,
    ) -> Result<()> {
        match &mut self.hand {
            Hand::Probe(found) => found.push((state.state(), from_version)),
            Hand::Value { state: of, from_version: from, old, new, is_rewritten } => {
                if (*of, *from) == (state.state(), from_version) && !*is_rewritten {
                    *is_rewritten = true;
                    match make(Old::decode(old)?)?.into() {
                        Some(value) => value.encode(&mut new.bytes).map(|()| new.close())?,
                        None => new.push(None),
                    }
                }
            }
        }
        Ok(())
    }
}

/// [`Migrate::migrate`] of an operator.
pub(crate) type Rewrite<O> = fn(&O, &mut OldValue<'_>) -> Result<()>;

/// Why values were not rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// These rows, and why.
    Reject(Vec<(u32, String)>),
    Stop(String),
}

/// Rewrites values of one state and version.
pub(crate) fn rewrite_all<O>(
    operator: &O,
    rewrite: Rewrite<O>,
    (state, from_version): (u32, u32),
    values: &Column,
) -> Result<Column, Failure> {
    let (mut new, mut rejected) = (Column::default(), Vec::new());
    for row in 0..values.ends.len() as u32 {
        let old = values.get(row).unwrap_or_default();
        match rewrite_one(operator, rewrite, (state, from_version), (old, &mut new)) {
            Ok(()) => {}
            Err(Error::Reject(reason)) => {
                // The column is not handed over any more; its rows only have to stay in step.
                new.truncate(row as usize);
                new.push(None);
                rejected.push((row, reason));
            }
            Err(Error::Stop(reason)) => return Err(Failure::Stop(reason)),
        }
    }
    if rejected.is_empty() { Ok(new) } else { Err(Failure::Reject(rejected)) }
}

fn rewrite_one<O>(
    operator: &O,
    rewrite: Rewrite<O>,
    (state, from_version): (u32, u32),
    (old, new): (&[u8], &mut Column),
) -> Result<()> {
    let hand = Hand::Value { state, from_version, old, new, is_rewritten: false };
    let mut value = OldValue { hand };
    rewrite(operator, &mut value)?;
    match value.hand {
        Hand::Value { is_rewritten: true, .. } => Ok(()),
        _ => Err(stop(format!("`Migrate` has passed over version {from_version} of state {state}"))),
    }
}

/// Whether there is a `rewrite` for each version that a state says it migrates, and the other way round: found when the operator is opened, not by the first old value.
pub(crate) fn check<O>(operator: &O, rewrite: Rewrite<O>, descriptor: &Descriptor) -> Result<(), String> {
    let mut value = OldValue { hand: Hand::Probe(Vec::new()) };
    rewrite(operator, &mut value).map_err(|error| error.to_string())?;
    let Hand::Probe(found) = value.hand else { return Ok(()) };
    for (at, state) in (0u32..).zip(&descriptor.states) {
        if let Some(version) = state.migrates.iter().find(|&&version| !found.contains(&(at, version))) {
            return Err(format!(
                "the state \"{}\" says that it migrates version {version}, and `Migrate` has no `rewrite` for it",
                state.name
            ));
        }
    }
    for &(at, version) in &found {
        let state = descriptor.states.get(at as usize).filter(|state| !state.migrates.contains(&version));
        if let Some(state) = state {
            return Err(format!(
                "`Migrate` rewrites version {version} of the state \"{0}\", which does not say so: `State::new(\"{0}\").migrates({version})`",
                state.name
            ));
        }
    }
    Ok(())
}

/// Whether no state of an operator that is not exported `with Migrate` says that it migrates a version.
#[cfg(target_arch = "wasm32")]
pub(crate) fn check_none(descriptor: &Descriptor) -> Result<(), String> {
    match descriptor.states.iter().find(|state| !state.migrates.is_empty()) {
        None => Ok(()),
        Some(state) => Err(format!(
            "the state \"{}\" says that it migrates version(s) {:?}, and the operator is not exported `with Migrate`",
            state.name, state.migrates
        )),
    }
}
