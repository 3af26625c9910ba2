//! State from before the test: what older versions of the operator left, and how it becomes what this one reads.

use super::{Harness, run::Runner};
use crate::{
    Codec, Migrate, Operator,
    column::Column,
    descriptor::State,
    migrate::{self, Failure, Rewrite},
    run::Instance,
};

/// A value that is there before the first record.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) state: usize,
    pub(crate) version: u32,
    pub(crate) key: Vec<u8>,
    pub(crate) map_key: Vec<u8>,
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
        self.put_stored(state, version, (key.as_ref().to_vec(), Vec::new()), bytes);
        self
    }

    /// Goes on with another version of the operator, as a hot swap does: the new one finds the state that this one has come to, and its timers.
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
        new.take_over_timers(&self.descriptor, &outcome.timers);
        for (state, kept) in self.descriptor.states.iter().zip(&outcome.states) {
            if new.descriptor.states.iter().all(|other| other.name != state.name) {
                continue;
            }
            for (key, item) in &kept.items {
                let version = item.older_version.unwrap_or(state.version);
                new.put_stored(&state.name, version, key.clone(), item.bytes.clone());
            }
        }
        new
    }

    fn put_stored(&mut self, name: &str, version: u32, (key, map_key): (Vec<u8>, Vec<u8>), bytes: Vec<u8>) {
        let found = self.descriptor.states.iter().enumerate().find(|(_, state)| state.name == name);
        let Some((at, state)) = found else { panic!("the operator has no state {name:?}") };
        let is_read = version == state.version || state.reads.contains(&version);
        if !is_read && !(state.migrates.contains(&version) && self.rewrite.is_some()) {
            panic!(
                "the state {name:?} holds version {version}, which the operator neither reads nor migrates (it writes {}, reads {:?} and migrates {:?}; \
                 `Harness::migrating` opens an operator `with Migrate`)",
                state.version, state.reads, state.migrates
            );
        }
        self.stored.push(Stored { state: at, version, key, map_key, bytes });
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
        let keys: Vec<Vec<u8>> = self.outcome.states.iter().flat_map(|kept| kept.older_keys().cloned()).collect();
        for key in keys {
            // One that cannot be rewritten stays as it is.
            let _ = self.migrate_key(&key);
        }
    }

    fn migrate_value(&mut self, state: usize, key: &[u8], rewrite: Rewrite<O>) -> Result<(), String> {
        let Some(described) = self.descriptor.states.get(state) else { return Ok(()) };
        let Some(kept) = self.outcome.states.get_mut(state) else { return Ok(()) };
        let older: Vec<_> = kept
            .items
            .iter()
            .filter(|((of, _), _)| of == key)
            .filter_map(|(at, item)| Some((at.clone(), item.older_version?, item.bytes.clone())))
            .filter(|(_, version, _)| described.migrates.contains(version))
            .collect();
        for (at, version, old) in older {
            let mut column = Column::default();
            column.push(Some(&old));
            let new = migrate::rewrite_all(self.instance.operator(), rewrite, (state as u32, version), &column);
            let new = match new {
                Ok(new) => new,
                Err(failure) => return Err(self.refused(described, version, failure)),
            };
            let Some(kept) = self.outcome.states.get_mut(state) else { return Ok(()) };
            match (new.get(0), kept.items.get_mut(&at)) {
                (Some(value), Some(item)) => {
                    item.bytes = value.to_vec();
                    item.older_version = None;
                }
                _ => drop(kept.items.remove(&at)),
            }
        }
        Ok(())
    }

    /// Why a value of an older version stays as it is, or that the operator has stopped.
    fn refused(&mut self, described: &State, version: u32, failure: Failure) -> String {
        match failure {
            Failure::Reject(rows) => {
                let reason = rows.into_iter().map(|(_, reason)| reason).collect::<String>();
                format!("a value of state \"{}\", version {version}, cannot be migrated: {reason}", described.name)
            }
            Failure::Stop(reason) => {
                self.outcome.stopped = Some(reason.clone());
                reason
            }
        }
    }
}
