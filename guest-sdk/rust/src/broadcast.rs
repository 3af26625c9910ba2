//! Broadcast states: the same for all keys, changed by a broadcast input alone.

use crate::buffer::Buffers;
use crate::column::{Column, EntryPage};
use crate::context::Work;
use crate::descriptor::Descriptor;
use crate::host::{Host, Platform, Within};
use crate::map::{Bounds, Entries};
use crate::map_buffer::{Link, MapBuffer};
use crate::map_key::{AsMapKey, MapKey};
use crate::record::Record;
use crate::{Codec, Context, Operator, Result};
use std::cell::{Ref, RefCell};
use std::marker::PhantomData;
use std::ops::RangeBounds;

/// A state that is the same for all keys, kept in memory as a whole by every worker: rules, settings, small tables. A handle, declared by
/// [`Setup::broadcast`](crate::Setup::broadcast). It is read in [`Operator::process`] and changed in [`OnBroadcast::on_broadcast`].
#[derive(Debug)]
pub struct Broadcast<K, V> {
    state: u32,
    buffer: u32,
    of: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for Broadcast<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Broadcast<K, V> {}

/// An operator with a broadcast input. Named in the export macro: `"rules": Rules with OnBroadcast`.
///
/// ```
/// use millstream_sdk::{Broadcast, BroadcastContext, Context, Input, OnBroadcast, Operator, Output, Record, Result, Setup, export_operators};
///
/// /// Lets records of listed kinds pass.
/// struct Allow { kinds: Broadcast<String, ()>, passed: Output }
///
/// impl Operator for Allow {
///     fn open(setup: &mut Setup) -> Result<Self> {
///         setup.input("records");
///         setup.broadcast_input("kinds");
///         Ok(Self { kinds: setup.broadcast("kinds"), passed: setup.output("passed") })
///     }
///     fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
///         if self.kinds.contains(ctx, record.text()?) {
///             ctx.forward(self.passed);
///         }
///         Ok(())
///     }
/// }
///
/// impl OnBroadcast for Allow {
///     fn on_broadcast(&self, record: &Record, ctx: &mut BroadcastContext) -> Result<()> {
///         let kind = str::from_utf8(record.key().unwrap_or_default())?;
///         match record.value() {
///             Some(_) => self.kinds.put(ctx, kind, &()),
///             None => self.kinds.remove(ctx, kind),
///         }
///         Ok(())
///     }
/// }
///
/// export_operators! { "allow": Allow with OnBroadcast }
/// ```
pub trait OnBroadcast: Operator {
    /// Folds one record of a broadcast input into broadcast states. Every worker does so for itself, with every record.
    ///
    /// # Errors
    /// As [`Operator::process`].
    fn on_broadcast(&self, record: &Record<'_>, ctx: &mut BroadcastContext<'_>) -> Result<()>;
}

/// [`OnBroadcast::on_broadcast`] of an operator.
pub(crate) type Fold<O> = fn(&O, &Record<'_>, &mut BroadcastContext<'_>) -> Result<()>;

/// Whether an operator that has broadcast inputs can take their records, and the other way round.
pub(crate) fn check(is_able: bool, descriptor: &Descriptor) -> std::result::Result<(), String> {
    let input = descriptor.inputs.iter().find(|input| input.is_broadcast);
    match input {
        Some(input) if !is_able => Err(format!(
            "the input \"{}\" is a broadcast input, and the operator is not exported `with OnBroadcast`",
            input.name
        )),
        None if is_able => Err("the operator is exported `with OnBroadcast` and has no `broadcast_input`".to_owned()),
        _ => Ok(()),
    }
}

/// Takes what a record of a broadcast input does: it may change broadcast states, and nothing else.
#[derive(Debug)]
pub struct BroadcastContext<'b> {
    pub(crate) work: &'b mut Work,
}

/// Where a broadcast state can be read: [`Context`] and [`BroadcastContext`].
pub trait ReadsBroadcast: sealed::Sealed {
    #[doc(hidden)]
    fn work(&mut self) -> &mut Work;
}

mod sealed {
    pub trait Sealed {}
}

impl sealed::Sealed for Context<'_> {}

impl ReadsBroadcast for Context<'_> {
    fn work(&mut self) -> &mut Work {
        self.work
    }
}

impl sealed::Sealed for BroadcastContext<'_> {}

impl ReadsBroadcast for BroadcastContext<'_> {
    fn work(&mut self) -> &mut Work {
        self.work
    }
}

/// Entries of broadcast states.
#[derive(Debug)]
struct OfAll;

impl Link for OfAll {
    fn entries(state: u32, _: &[u32], map_keys: &Column) -> Column {
        Platform::broadcast_entries(state, map_keys)
    }
    fn put_entries(state: u32, _: &[u32], map_keys: &Column, values: &Column) {
        Platform::put_broadcast(state, map_keys, values);
    }
    fn touch(_: u32, _: &[u32], _: &Column) {}
    fn clear(state: u32, _: u32) {
        Platform::clear_broadcast(state);
    }
}

/// Something made of a broadcast state, such as compiled rules, kept as long as the state stays as it is. It is no state: a new instance makes it anew.
#[derive(Debug, Default)]
pub struct Cached<T>(RefCell<Option<(u64, T)>>);

impl<T> Cached<T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(RefCell::new(None))
    }
}

impl<K, V> Broadcast<K, V> {
    pub(crate) fn declare(state: u32, buffers: &mut Buffers) -> Self {
        let buffer = buffers.add(MapBuffer::<OfAll>::new(state, false));
        Self { state, buffer, of: PhantomData }
    }

    /// A number that goes up whenever the state changes, and only then. Another instance counts otherwise.
    pub fn revision(&self, ctx: &mut impl ReadsBroadcast) -> u64 {
        let state = self.state;
        match ctx.work().buffers.get::<MapBuffer<OfAll>>(self.buffer) {
            Some(buffer) => *buffer.revision.get_or_insert_with(|| Platform::revision(state)),
            None => 0,
        }
    }

    /// Removes all entries.
    pub fn clear(&self, ctx: &mut BroadcastContext<'_>) {
        let buffers = &mut ctx.work.buffers;
        buffers.mark_record();
        buffers.show(self.buffer);
        if let Some(buffer) = buffers.get::<MapBuffer<OfAll>>(self.buffer) {
            buffer.clear(0);
        }
    }
}

fn scan(state: u32, _: u32, within: Within<'_>, bytes_max: u32) -> EntryPage {
    Platform::broadcast_scan(state, within, bytes_max)
}

impl<K: MapKey, V: Codec> Broadcast<K, V> {
    fn read<'c, Q: AsMapKey<K> + ?Sized>(&self, ctx: &'c mut impl ReadsBroadcast, key: &Q) -> Option<&'c [u8]> {
        let buffer = ctx.work().buffers.get::<MapBuffer<OfAll>>(self.buffer)?;
        buffer.read(0, |to| key.encode_as(to))
    }

    /// The value under a map key, none if there is none.
    ///
    /// # Errors
    /// The stored bytes are no `V`: `?` rejects the record.
    pub fn get<Q: AsMapKey<K> + ?Sized>(&self, ctx: &mut impl ReadsBroadcast, key: &Q) -> Result<Option<V>> {
        self.read(ctx, key).map(V::decode).transpose()
    }

    /// Whether there is an entry under a map key.
    pub fn contains<Q: AsMapKey<K> + ?Sized>(&self, ctx: &mut impl ReadsBroadcast, key: &Q) -> bool {
        self.read(ctx, key).is_some()
    }

    /// The entries in a range of map keys, in order; see [`Map::range`](crate::Map::range).
    pub fn range(&self, ctx: &mut impl ReadsBroadcast, range: impl RangeBounds<K>) -> Entries<K, V> {
        self.within(ctx, Bounds::of(&range))
    }

    /// All entries, in order.
    pub fn iter(&self, ctx: &mut impl ReadsBroadcast) -> Entries<K, V> {
        self.within(ctx, Bounds::default())
    }

    fn within(&self, ctx: &mut impl ReadsBroadcast, bounds: Bounds) -> Entries<K, V> {
        ctx.work().buffers.show(self.buffer);
        Entries::new((self.state, 0), scan, None, bounds)
    }

    /// What `make` made of the entries, made anew only if the state has changed since. Not for [`OnBroadcast::on_broadcast`], where it is about to change.
    ///
    /// ```
    /// # use millstream_sdk::{Broadcast, Cached, Context, Record, Result};
    /// # struct Rule; impl Rule { fn parse(_: &str) -> Result<Rule> { Ok(Rule) } fn matches(&self, _: &[u8]) -> bool { true } }
    /// # struct Filter { rules: Broadcast<String, String>, compiled: Cached<Vec<Rule>> }
    /// # impl Filter {
    /// fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
    ///     let rules = self.rules.cached(ctx, &self.compiled, |entries| {
    ///         entries.map(|entry| Rule::parse(&entry?.1)).collect()
    ///     })?;
    ///     if rules.iter().any(|rule| rule.matches(record.bytes().unwrap_or_default())) {
    /// #       return Ok(());
    ///     }
    ///     Ok(())
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of `make`: nothing is kept then.
    pub fn cached<'c, T>(
        &self,
        ctx: &mut Context<'_>,
        cache: &'c Cached<T>,
        make: impl FnOnce(Entries<K, V>) -> Result<T>,
    ) -> Result<Ref<'c, T>> {
        let revision = self.revision(ctx);
        let is_current = cache.0.borrow().as_ref().is_some_and(|(of, _)| *of == revision);
        if !is_current {
            let made = make(self.iter(ctx))?;
            *cache.0.borrow_mut() = Some((revision, made));
        }
        let made = Ref::filter_map(cache.0.borrow(), |kept| kept.as_ref().map(|(_, made)| made));
        made.map_err(|_| crate::stop("what was made of a broadcast state is gone"))
    }

    /// Sets the value under a map key. A value without an encoding rejects the record when `on_broadcast` is done.
    pub fn put<Q: AsMapKey<K> + ?Sized>(&self, ctx: &mut BroadcastContext<'_>, key: &Q, value: &V) {
        self.write(ctx, key, |to| value.encode(to).map(|()| true));
    }

    /// Removes the entry under a map key, if there is one.
    pub fn remove<Q: AsMapKey<K> + ?Sized>(&self, ctx: &mut BroadcastContext<'_>, key: &Q) {
        self.write(ctx, key, |_| Ok(false));
    }

    fn write<Q: AsMapKey<K> + ?Sized>(
        &self,
        ctx: &mut BroadcastContext<'_>,
        key: &Q,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<bool>,
    ) {
        let work = &mut *ctx.work;
        let Some(buffer) = work.buffers.get::<MapBuffer<OfAll>>(self.buffer) else { return };
        if let Err(error) = buffer.write(0, |to| key.encode_as(to), encode) {
            work.fault.get_or_insert(error);
        }
    }
}
