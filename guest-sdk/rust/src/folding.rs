//! Values that grow by folding.

use crate::{Codec, Context, Result, Value};

/// A value per key to which others are added: a handle, declared by [`Setup::reducing`](crate::Setup::reducing).
///
/// ```
/// # use millstream_sdk::{Context, Record, Reducing, Result, Setup};
/// # struct Highest { highest: Reducing<u64> }
/// # impl Highest {
/// # fn open(setup: &mut Setup) -> Result<Self> {
/// Ok(Self { highest: setup.reducing("highest", u64::max) })
/// # }
/// # fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
/// let highest = self.highest.add(ctx, record.json()?)?;
/// # let _ = highest;
/// # Ok(())
/// # }
/// # }
/// ```
#[derive(Debug)]
pub struct Reducing<T> {
    value: Value<T>,
    reduce: fn(T, T) -> T,
}

impl<T> Clone for Reducing<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Reducing<T> {}

impl<T: Codec> Reducing<T> {
    pub(crate) fn new(value: Value<T>, reduce: fn(T, T) -> T) -> Self {
        Self { value, reduce }
    }

    /// Adds to the value of the record's key, which is then returned. The first one is the value.
    ///
    /// # Errors
    /// The stored bytes are no `T`: `?` rejects the record.
    pub fn add(&self, ctx: &mut Context<'_>, addend: T) -> Result<T> {
        let sum = match self.value.get(ctx)? {
            Some(before) => (self.reduce)(before, addend),
            None => addend,
        };
        self.value.set(ctx, &sum);
        Ok(sum)
    }

    /// The value of the record's key, none if nothing was added.
    ///
    /// # Errors
    /// The stored bytes are no `T`: `?` rejects the record.
    pub fn get(&self, ctx: &mut Context<'_>) -> Result<Option<T>> {
        self.value.get(ctx)
    }

    /// Begins from nothing again.
    pub fn clear(&self, ctx: &mut Context<'_>) {
        self.value.clear(ctx);
    }
}

/// How inputs are folded into an accumulator, and a result is made of it: an average of a sum and a count, say.
pub trait Aggregate {
    /// What is added.
    type Input;
    /// What is kept.
    type Accumulator: Codec;
    /// What is made of it.
    type Output;

    /// An accumulator that nothing was added to.
    fn create(&self) -> Self::Accumulator;

    /// Adds an input.
    fn add(&self, accumulator: &mut Self::Accumulator, input: Self::Input);

    /// What the accumulator comes to.
    fn result(&self, accumulator: &Self::Accumulator) -> Self::Output;
}

/// A value per key that inputs are folded into: a handle, declared by [`Setup::aggregating`](crate::Setup::aggregating).
#[derive(Debug, Clone, Copy)]
pub struct Aggregating<A: Aggregate> {
    value: Value<A::Accumulator>,
    aggregate: A,
}

impl<A: Aggregate> Aggregating<A> {
    pub(crate) fn new(value: Value<A::Accumulator>, aggregate: A) -> Self {
        Self { value, aggregate }
    }

    /// Adds an input for the record's key, and returns what it comes to.
    ///
    /// # Errors
    /// The stored bytes are no accumulator: `?` rejects the record.
    pub fn add(&self, ctx: &mut Context<'_>, input: A::Input) -> Result<A::Output> {
        let mut accumulator = self.value.get(ctx)?.unwrap_or_else(|| self.aggregate.create());
        self.aggregate.add(&mut accumulator, input);
        self.value.set(ctx, &accumulator);
        Ok(self.aggregate.result(&accumulator))
    }

    /// What was added for the record's key comes to, none if nothing was.
    ///
    /// # Errors
    /// The stored bytes are no accumulator: `?` rejects the record.
    pub fn get(&self, ctx: &mut Context<'_>) -> Result<Option<A::Output>> {
        Ok(self.value.get(ctx)?.map(|accumulator| self.aggregate.result(&accumulator)))
    }

    /// Begins from nothing again.
    pub fn clear(&self, ctx: &mut Context<'_>) {
        self.value.clear(ctx);
    }
}
