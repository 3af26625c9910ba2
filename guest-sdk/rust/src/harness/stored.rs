//! State from before the test: what older versions of the operator left, and how it becomes what this one reads.

use super::{Harness, run::Runner};
use crate::{
    Codec, Migrate, Operator,
    column::Column,
    migrate::{self, Failure, Rewrite},
    run::Instance,
};

/// A value that is there before the first record.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) state: usize,
    pub(crate) version: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) bytes: Vec<u8>,
}

impl<O: Migrate> Harness<O> {
    /// Opens an operator that is exported `with Migrate`. Values of versions that it migrates ([`Harness::stored`], [`Harness::swap`]) are rewritten before the first record of
    /// their key and, at random moments, in the background; at the end all of them are.
    ///
    /// # Panics
    /// The operator refuses the configuration, or what its states say of versions and what [`Migrate`] rewrites do not agree.
    pub fn migrating(config: &str) -> Self {
        let mut harness = Self::new(config);
        let checked = Instance::<O>::open(config)
            .and_then(|(instance, descriptor)| migrate::check(instance.operator(), O::migrate, &descriptor));
        if let Err(error) = checked {
            panic!("{error}");
        }
        harness.rewrite = Some(O::migrate);
        harness
    }
}

impl<O: Operator> Harness<O> {
    /// Puts a value into a state, as that version of the operator left it, before anything is pushed.
    ///
    /// # Panics
    /// There is no such state, it neither reads nor migrates that version, or the value has no encoding.
    pub fn stored<T: Codec>(&mut self, state: &str, version: u32, key: impl AsRef<[u8]>, value: &T) -> &mut Self {
        let mut bytes = Vec::new();
        if let Err(error) = value.encode(&mut bytes) {
            panic!("the value for the state {state:?} has no encoding: {error}");
        }
        self.put_stored(state, version, key.as_ref().to_vec(), bytes);
        self
    }

    /// Goes on with another version of the operator, as a hot swap does: the new one finds the state that this one has come to.
    ///
    /// ```
    /// # use millstream_sdk::{harness::Harness, *};
    /// # struct Old { seen: Value<u64> }
    /// # impl Operator for Old {
    /// #     fn open(setup: &mut Setup) -> Result<Self> { Ok(Self { seen: setup.value("seen") }) }
    /// #     fn process(&self, _: &Record, ctx: &mut Context) -> Result<()> {
    /// #         let seen = self.seen.get(ctx)?.unwrap_or(0) + 1;
    /// #         self.seen.set(ctx, &seen);
    /// #         Ok(())
    /// #     }
    /// # }
    /// # struct New { seen: Value<String> }
    /// # impl Operator for New {
    /// #     fn open(setup: &mut Setup) -> Result<Self> {
    /// #         Ok(Self { seen: setup.value(State::new("seen").version(2).migrates(1)) })
    /// #     }
    /// #     fn process(&self, _: &Record, ctx: &mut Context) -> Result<()> {
    /// #         let seen = self.seen.get(ctx)?.unwrap_or_default() + "I";
    /// #         self.seen.set(ctx, &seen);
    /// #         Ok(())
    /// #     }
    /// # }
    /// # impl Migrate for New {
    /// #     fn migrate(&self, value: &mut OldValue) -> Result<()> {
    /// #         value.rewrite(self.seen, 1, |seen: u64| Ok("I".repeat(seen as usize)))
    /// #     }
    /// # }
    /// let mut old = Harness::<Old>::new("{}");
    /// old.push("ann", "").push("ann", "").push("bob", "");
    ///
    /// let mut new = old.swap(Harness::<New>::migrating("{}"));
    /// new.push("ann", "");
    /// assert_eq!(new.state::<String>("seen", "ann").as_deref(), Some("III"));
    /// assert_eq!(new.state::<String>("seen", "bob").as_deref(), Some("I"), "migrated in the background");
    /// ```
    ///
    /// # Panics
    /// The host would refuse the swap, as the new version cannot read the state; or results depend on how batches are cut.
    #[must_use]
    pub fn swap<N: Operator>(&self, mut new: Harness<N>) -> Harness<N> {
        let outcome = self.outcome();
        let states = self.descriptor.states.iter().zip(outcome.states.iter().zip(&outcome.versions));
        for (state, (values, versions)) in states {
            if new.descriptor.states.iter().all(|other| other.name != state.name) {
                continue;
            }
            for (key, bytes) in values {
                let version = versions.get(key).copied().unwrap_or(state.version);
                new.put_stored(&state.name, version, key.clone(), bytes.clone());
            }
        }
        new
    }

    fn put_stored(&mut self, name: &str, version: u32, key: Vec<u8>, bytes: Vec<u8>) {
        let found = self.descriptor.states.iter().enumerate().find(|(_, state)| state.name == name);
        let Some((at, state)) = found else { panic!("the operator has no state {name:?}") };
        let is_read = version == state.version || state.reads.contains(&version);
        if !(is_read || state.migrates.contains(&version) && self.rewrite.is_some()) {
            panic!(
                "the state {name:?} holds version {version}, which the operator neither reads nor migrates (it writes {}, reads {:?} and migrates {:?}; \
                 `Harness::migrating` opens an operator `with Migrate`)",
                state.version, state.reads, state.migrates
            );
        }
        self.stored.push(Stored { state: at, version, key, bytes });
        self.outcome = std::cell::OnceCell::new();
    }
}

impl<O: Operator> Runner<'_, O> {
    /// Rewrites the values of a key that have to be before a record of it is processed.
    ///
    /// # Errors
    /// Why one of them cannot be: a record of the key is rejected for that.
    pub(super) fn migrate_key(&mut self, key: &[u8]) -> Result<(), String> {
        let Some(rewrite) = self.rewrite else { return Ok(()) };
        (0..self.descriptor.states.len()).try_for_each(|state| self.migrate_value(state, key, rewrite))
    }

    /// Rewrites all values that can be, as the host does in the background.
    pub(super) fn sweep(&mut self) {
        let keys: Vec<Vec<u8>> = self.outcome.versions.iter().flat_map(|versions| versions.keys().cloned()).collect();
        for key in keys {
            // One that cannot be rewritten stays as it is.
            let _ = self.migrate_key(&key);
        }
    }

    fn migrate_value(&mut self, state: usize, key: &[u8], rewrite: Rewrite<O>) -> Result<(), String> {
        let Some(described) = self.descriptor.states.get(state) else { return Ok(()) };
        let (states, versions) = (&mut self.outcome.states, &mut self.outcome.versions);
        let Some((values, versions)) = states.get_mut(state).zip(versions.get_mut(state)) else { return Ok(()) };
        let version = versions.get(key).copied().filter(|version| described.migrates.contains(version));
        let Some((version, old)) = version.zip(values.get(key)) else { return Ok(()) };
        let mut column = Column::default();
        column.push(Some(old));
        match migrate::rewrite_all(self.instance.operator(), rewrite, (state as u32, version), &column) {
            Ok(new) => {
                versions.remove(key);
                match new.get(0) {
                    Some(value) => drop(values.insert(key.to_vec(), value.to_vec())),
                    None => drop(values.remove(key)),
                }
                Ok(())
            }
            Err(Failure::Reject(rows)) => {
                let reason = rows.into_iter().map(|(_, reason)| reason).collect::<String>();
                Err(format!("a value of state \"{}\", version {version}, cannot be migrated: {reason}", described.name))
            }
            Err(Failure::Stop(reason)) => {
                self.outcome.stopped = Some(reason.clone());
                Err(reason)
            }
        }
    }
}
