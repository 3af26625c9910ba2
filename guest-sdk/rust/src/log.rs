//! Lines for the operator's log.

use crate::{
    Context,
    host::{Host, Platform},
};

/// How much a line matters, and to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step; for whoever debugs this operator.
    Trace,
    /// What led to a result.
    Debug,
    /// Something a person running the pipeline may want to know.
    Info,
    /// Something is wrong, the operator coped.
    Warn,
    /// Something is wrong, a person should act.
    Error,
}

/// Which levels are kept, asked for once per call and level.
#[derive(Debug, Default)]
pub(crate) struct LevelCache([Option<bool>; 5]);

impl LevelCache {
    fn enabled(&mut self, level: Level) -> bool {
        match self.0.get_mut(level as usize) {
            Some(cached) => *cached.get_or_insert_with(|| Platform::log_enabled(level)),
            None => Platform::log_enabled(level),
        }
    }
}

impl Context<'_> {
    /// Whether lines of this level are kept: the macros ask before they format one.
    pub fn log_enabled(&mut self, level: Level) -> bool {
        self.work.levels.enabled(level)
    }

    /// Writes a line about the record in hand. Lines are no effects: those of a rejected record stay.
    pub fn log(&mut self, level: Level, message: &str) {
        if self.log_enabled(level) {
            Platform::log(level, Some(self.record.row), message);
        }
    }
}

/// Writes a line of a [`Level`] about the record in hand; the text is formatted only if it is kept.
#[macro_export]
macro_rules! log {
    ($ctx:expr, $level:expr, $($text:tt)+) => {{
        let ctx: &mut $crate::Context<'_> = $ctx;
        let level: $crate::Level = $level;
        if ctx.log_enabled(level) {
            ctx.log(level, &::std::format!($($text)+));
        }
    }};
}

/// `trace!(ctx, "…")`: see [`Level::Trace`].
#[macro_export]
macro_rules! trace {
    ($ctx:expr, $($text:tt)+) => { $crate::log!($ctx, $crate::Level::Trace, $($text)+) };
}

/// `debug!(ctx, "…")`: see [`Level::Debug`].
#[macro_export]
macro_rules! debug {
    ($ctx:expr, $($text:tt)+) => { $crate::log!($ctx, $crate::Level::Debug, $($text)+) };
}

/// `info!(ctx, "…")`: see [`Level::Info`].
#[macro_export]
macro_rules! info {
    ($ctx:expr, $($text:tt)+) => { $crate::log!($ctx, $crate::Level::Info, $($text)+) };
}

/// `warn!(ctx, "…")`: see [`Level::Warn`].
#[macro_export]
macro_rules! warn {
    ($ctx:expr, $($text:tt)+) => { $crate::log!($ctx, $crate::Level::Warn, $($text)+) };
}

/// `error!(ctx, "…")`: see [`Level::Error`].
#[macro_export]
macro_rules! error {
    ($ctx:expr, $($text:tt)+) => { $crate::log!($ctx, $crate::Level::Error, $($text)+) };
}
