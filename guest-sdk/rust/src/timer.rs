//! Timers of the key in hand.

use crate::{
    Context, Operator, Result,
    buffer::StateBuffer,
    host::{Host, Platform},
    record::Call,
};
use std::any::Any;

/// Changes of timers after which they are handed over before the next record.
const STAGED_AT_CHANGES: usize = 16_384;

/// The clock that a timer goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    Event,
    Processing,
}

/// A timer to declare: a name, if need be with a description. A plain `&str` will do where one is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    pub(crate) name: String,
    pub(crate) clock: Clock,
    pub(crate) properties: Vec<(String, String)>,
}

impl Timer {
    /// A timer of this name. The name is how pending timers are found again after a restart, a swap or a restore: an operator must go on declaring a timer as long as
    /// some are pending.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), clock: Clock::Event, properties: Vec::new() }
    }

    /// One line on what it is for.
    #[must_use]
    pub fn doc(self, line: impl Into<String>) -> Self {
        self.property("doc", line)
    }

    /// A fact for the host to show, by name: see `properties` in the contract.
    #[must_use]
    pub fn property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((name.into(), value.into()));
        self
    }
}

impl<N: Into<String>> From<N> for Timer {
    fn from(name: N) -> Self {
        Self::new(name)
    }
}

/// A timer that goes by event time: it fires when the watermark comes to its time. A handle, declared by [`Setup::event_timer`](crate::Setup::event_timer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventTimer(pub(crate) AnyTimer);

/// A timer that goes by the host's wall clock. A handle, declared by [`Setup::processing_timer`](crate::Setup::processing_timer).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessingTimer(pub(crate) AnyTimer);

/// A timer of either clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnyTimer {
    pub(crate) timer: u32,
    pub(crate) buffer: u32,
}

impl AnyTimer {
    fn change(self, ctx: &mut Context<'_>, id: u64, time_ms: Option<i64>) {
        let key_row = ctx.key_row();
        let Some(buffer) = ctx.work.buffers.get::<TimerBuffer>(self.buffer) else { return };
        buffer.changes.push(Change { timer: self.timer, key_row, id, time_ms });
        ctx.work.full |= buffer.is_full();
    }
}

macro_rules! handle {
    ($handle:ident) => {
        impl $handle {
            /// Sets the timer of the key in hand, in milliseconds since 1970-01-01T00:00Z. Setting it again moves it. One whose time has passed
            /// fires when time moves next, never within the call.
            pub fn set(self, ctx: &mut Context<'_>, time_ms: i64) {
                self.set_id(ctx, 0, time_ms);
            }

            /// Sets one of several timers of this name that a key may have, told apart by an id of the operator's choice.
            pub fn set_id(self, ctx: &mut Context<'_>, id: u64, time_ms: i64) {
                self.0.change(ctx, id, Some(time_ms));
            }

            /// Removes the timer of the key in hand; nothing happens if there is none.
            pub fn cancel(self, ctx: &mut Context<'_>) {
                self.cancel_id(ctx, 0);
            }

            /// Removes one of several timers of this name.
            pub fn cancel_id(self, ctx: &mut Context<'_>, id: u64) {
                self.0.change(ctx, id, None);
            }
        }

        impl From<$handle> for AnyTimer {
            fn from(timer: $handle) -> Self {
                timer.0
            }
        }
    };
}

handle!(EventTimer);
handle!(ProcessingTimer);

/// An operator with timers. Named in the export macro: `"remind": Remind with OnTimer`.
///
/// ```
/// use millstream_sdk::{harness::Harness, *};
///
/// /// Reminds of every record a minute later.
/// struct Remind { minute: EventTimer, reminders: Output }
///
/// impl Operator for Remind {
///     fn open(setup: &mut Setup) -> Result<Self> {
///         Ok(Self { minute: setup.event_timer("minute"), reminders: setup.output("reminders") })
///     }
///     fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
///         let time_ms = record.timestamp_ms();
///         self.minute.set_id(ctx, time_ms.cast_unsigned(), time_ms + 60_000);
///         Ok(())
///     }
/// }
///
/// impl OnTimer for Remind {
///     fn on_timer(&self, timer: &Fired, ctx: &mut Context) -> Result<()> {
///         ctx.emit_display(self.reminders, timer.time_ms() - 60_000);
///         Ok(())
///     }
/// }
///
/// export_operators! { "remind": Remind with OnTimer }
///
/// let mut harness = Harness::<Remind>::new("{}").with_timers();
/// harness.push_at(0, "ann", "").push_at(5_000, "bob", "").push_at(30_000, "ann", "");
/// harness.watermark(60_000);
/// assert_eq!(harness.outputs("reminders"), [("ann", "0")]);
/// harness.end();
/// assert_eq!(harness.outputs("reminders").last().unwrap().timestamp_ms, 90_000);
/// ```
pub trait OnTimer: Operator {
    /// Handles a timer that is due, and gone: it may be set again. The context is that of its key. What is emitted has the timer's time, unless it says
    /// otherwise, and no headers; there is no value to forward.
    ///
    /// # Errors
    /// As [`Operator::process`]: a timer that is rejected goes to the error policy with its key, name and time.
    fn on_timer(&self, timer: &Fired<'_>, ctx: &mut Context<'_>) -> Result<()>;
}

/// How an operator handles a timer.
pub(crate) type Handle<O> = fn(&O, &Fired<'_>, &mut Context<'_>) -> Result<()>;

/// Whether an operator that has timers can handle them.
#[cfg(target_arch = "wasm32")]
pub(crate) fn check(is_handled: bool, descriptor: &crate::descriptor::Descriptor) -> Result<(), String> {
    match descriptor.timers.first() {
        Some(timer) if !is_handled => Err(format!(
            "the operator declares the timer \"{}\" and is exported without `with OnTimer`: nothing would handle it when it fires",
            timer.name
        )),
        _ => Ok(()),
    }
}

/// A timer that is due.
#[derive(Debug, Clone, Copy)]
pub struct Fired<'b> {
    pub(crate) call: &'b Call,
    pub(crate) row: u32,
}

/// Which timers a call fires, one entry per row.
#[derive(Debug, Default)]
pub(crate) struct FiredColumns {
    pub(crate) timers: Vec<u32>,
    pub(crate) ids: Vec<u64>,
}

impl<'b> Fired<'b> {
    /// Whether it is this timer.
    pub fn is(&self, timer: impl Into<AnyTimer>) -> bool {
        let fired = self.call.fired.as_ref().and_then(|fired| fired.timers.get(self.row as usize));
        fired == Some(&timer.into().timer)
    }

    /// The id it was set with; 0 if it was set without.
    pub fn id(&self) -> u64 {
        let fired = self.call.fired.as_ref().and_then(|fired| fired.ids.get(self.row as usize));
        fired.copied().unwrap_or_default()
    }

    /// The time it was set for, in milliseconds since 1970-01-01T00:00Z.
    pub fn time_ms(&self) -> i64 {
        self.call.timestamp_ms(self.row)
    }

    /// Its key.
    pub fn key(&self) -> &'b [u8] {
        self.call.key(self.row).unwrap_or_default()
    }
}

/// A change of a timer that is not staged yet.
#[derive(Debug, Clone, Copy)]
struct Change {
    timer: u32,
    key_row: u32,
    id: u64,
    time_ms: Option<i64>,
}

/// Changes of timers in the order they were made. Made where the first timer is declared: an operator without timers does not even import what it calls.
#[derive(Debug, Default)]
pub(crate) struct TimerBuffer {
    changes: Vec<Change>,
    /// How many of them are those of records that are done.
    kept: usize,
    /// Columns of what is staged: kept for their memory.
    key_rows: Vec<u32>,
    ids: Vec<u64>,
    times_ms: Vec<i64>,
}

impl TimerBuffer {
    /// Hands the first changes to the host, in their order, with one call for each run of sets, or of cancels, of a timer.
    fn stage_first(&mut self, count: usize) {
        let alike =
            |one: &Change, other: &Change| one.timer == other.timer && one.time_ms.is_some() == other.time_ms.is_some();
        let staged = self.changes.get(..count).unwrap_or_default();
        for run in staged.chunk_by(alike) {
            self.key_rows.clear();
            self.ids.clear();
            self.times_ms.clear();
            self.key_rows.extend(run.iter().map(|change| change.key_row));
            self.ids.extend(run.iter().map(|change| change.id));
            self.times_ms.extend(run.iter().filter_map(|change| change.time_ms));
            match run.first() {
                Some(Change { timer, time_ms: Some(_), .. }) => {
                    Platform::set_timers(*timer, &self.key_rows, &self.ids, &self.times_ms);
                }
                Some(Change { timer, time_ms: None, .. }) => {
                    Platform::cancel_timers(*timer, &self.key_rows, &self.ids);
                }
                None => {}
            }
        }
        self.changes.drain(..count.min(self.changes.len()));
        self.kept = self.kept.saturating_sub(count);
    }

    /// Orders the changes of records that are done by timer and kind, and drops those that later ones undo. What is staged then is two calls a timer, whatever the order
    /// in which records set and cancelled.
    fn compact(&mut self) {
        let place = |change: &Change| (change.timer, change.key_row, change.id);
        let kept = self.changes.get(..self.kept).unwrap_or_default();
        if kept.is_sorted_by_key(|change| (change.timer, change.time_ms.is_none())) {
            return;
        }
        let rest = self.changes.split_off(self.kept);
        self.changes.sort_by_key(place);
        // Of changes of one timer the last one is kept: they are in the order they were made.
        self.changes.reverse();
        self.changes.dedup_by_key(|change| place(change));
        self.changes.sort_by_key(|change| (change.timer, change.time_ms.is_none()));
        self.kept = self.changes.len();
        self.changes.extend(rest);
    }
}

impl StateBuffer for TimerBuffer {
    fn begin(&mut self, _: usize) {
        self.changes.clear();
        self.kept = 0;
    }

    fn keep_record(&mut self) {
        self.kept = self.changes.len();
    }

    fn undo_record(&mut self) {
        self.changes.truncate(self.kept);
    }

    fn has_own(&self) -> bool {
        self.changes.len() > self.kept
    }

    fn stage_kept(&mut self) {
        self.compact();
        self.stage_first(self.kept);
    }

    fn stage_own(&mut self) {
        self.stage_first(self.changes.len());
    }

    fn is_full(&self) -> bool {
        self.changes.len() >= STAGED_AT_CHANGES
    }

    fn make_room(&mut self) {
        self.stage_kept();
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}
