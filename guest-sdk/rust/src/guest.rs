//! The operator as a component: the generated bindings, and what the export macro calls.

use crate::{
    Level, Migrate, OnBroadcast, OnTimer, OnWindow, Operator,
    broadcast::Fold,
    column::{Column, ElementPage, EntryPage, HeaderColumn},
    descriptor::Descriptor,
    host::{Emission, Host, Within},
    migrate::{self, Rewrite},
    record::Call,
    run::Instance,
    timer::{self, FiredColumns, Handle},
    window::{self, Firing, HandleWindow, WindowColumns},
};
#[path = "guest_descriptor.rs"]
mod descriptor;

use bindings::{
    exports::millstream::operator::operator::CatalogEntry,
    millstream::operator::{broadcast_state, context, descriptors, effects, log, metrics, state, types},
};
use std::{
    cell::RefCell,
    panic::PanicHookInfo,
    sync::atomic::{AtomicU32, Ordering},
};

#[expect(missing_docs, reason = "generated")]
pub mod bindings {
    wit_bindgen::generate!({
        path: "../../wit/operator",
        world: "stream-operator",
        ownership: Borrowing { duplicate_if_necessary: true },
        pub_export_macro: true,
        export_macro_name: "export_component",
        default_bindings_module: "::millstream_sdk::__guest::bindings",
    });
}

/// The optional export `migration`: bindings of their own, so that a component has it only if an operator in it does.
#[expect(missing_docs, reason = "generated")]
pub mod migration_bindings {
    wit_bindgen::generate!({
        path: "../../wit/operator",
        inline: "package millstream:sdk; world migrating { export millstream:operator/migration@0.1.0; }",
        generate_all,
        world: "millstream:sdk/migrating",
        pub_export_macro: true,
        export_macro_name: "export_migration",
        default_bindings_module: "::millstream_sdk::__guest::migration_bindings",
    });
}

/// The optional export `broadcast-input`, likewise.
#[expect(missing_docs, reason = "generated")]
pub mod broadcast_bindings {
    wit_bindgen::generate!({
        path: "../../wit/operator",
        inline: "package millstream:sdk; world listening { export millstream:operator/broadcast-input@0.1.0; }",
        generate_all,
        world: "millstream:sdk/listening",
        pub_export_macro: true,
        export_macro_name: "export_broadcast_input",
        default_bindings_module: "::millstream_sdk::__guest::broadcast_bindings",
    });
}

/// The optional export `timers`, likewise.
#[expect(missing_docs, reason = "generated")]
pub mod timers_bindings {
    wit_bindgen::generate!({
        path: "../../wit/operator",
        inline: "package millstream:sdk; world firing { export millstream:operator/timers@0.1.0; }",
        generate_all,
        world: "millstream:sdk/firing",
        pub_export_macro: true,
        export_macro_name: "export_timers",
        default_bindings_module: "::millstream_sdk::__guest::timers_bindings",
    });
}

/// The optional export `windows`, likewise.
#[expect(missing_docs, reason = "generated")]
pub mod windows_bindings {
    wit_bindgen::generate!({
        path: "../../wit/operator",
        inline: "package millstream:sdk; world windowed { export millstream:operator/windows@0.1.0; }",
        generate_all,
        world: "millstream:sdk/windowed",
        pub_export_macro: true,
        export_macro_name: "export_windows",
        default_bindings_module: "::millstream_sdk::__guest::windows_bindings",
    });
}

pub use windows_bindings::{
    export_windows,
    exports::millstream::operator::windows::{Firing as WireFiring, Guest as WindowsGuest, WindowBatch},
    millstream::operator::types::Failure as WindowsFailure,
};

pub use bindings::{
    export_component,
    exports::millstream::operator::operator::{CatalogEntry as Entry, Guest},
    millstream::operator::{
        descriptors::Descriptor as WireDescriptor,
        types::{Batch, Failure},
    },
};

pub use migration_bindings::{
    export_migration,
    exports::millstream::operator::migration::Guest as MigrationGuest,
    millstream::operator::types::{BytesColumn as OldColumn, Failure as MigrationFailure},
};

pub use broadcast_bindings::{
    export_broadcast_input,
    exports::millstream::operator::broadcast_input::Guest as BroadcastGuest,
    millstream::operator::types::{Batch as BroadcastBatch, Failure as BroadcastFailure},
};

pub use timers_bindings::{
    export_timers,
    exports::millstream::operator::timers::{Guest as TimersGuest, TimerBatch},
    millstream::operator::types::Failure as TimersFailure,
};

/// The imports of the component.
#[derive(Debug)]
pub(crate) struct Bindings;

impl Host for Bindings {
    fn enter(row: u32) {
        ROW.store(row, Ordering::Relaxed);
    }
    fn keys() -> Column {
        context::keys().into()
    }
    fn headers() -> HeaderColumn {
        let headers = context::headers();
        HeaderColumn { rows: headers.rows, names: headers.names.into(), values: headers.values.into() }
    }
    fn watermark_ms() -> Option<i64> {
        context::watermark_ms()
    }
    fn now_ms() -> i64 {
        context::now_ms()
    }
    fn values(state: u32) -> Column {
        state::values(state).into()
    }
    fn entries(state: u32, key_rows: &[u32], map_keys: &Column) -> Column {
        state::entries(state, key_rows, borrowed(map_keys)).into()
    }
    fn scan(state: u32, key_row: u32, within: Within<'_>, bytes_max: u32) -> EntryPage {
        state::scan(state, key_row, range(within), bytes_max).into()
    }
    fn elements(state: u32, key_row: u32, first: u64, bytes_max: u32) -> ElementPage {
        let page = state::elements(state, key_row, first, bytes_max);
        ElementPage { elements: page.elements.into(), more: page.more }
    }
    fn revision(state: u32) -> u64 {
        broadcast_state::revision(state)
    }
    fn broadcast_entries(state: u32, map_keys: &Column) -> Column {
        broadcast_state::entries(state, borrowed(map_keys)).into()
    }
    fn broadcast_scan(state: u32, within: Within<'_>, bytes_max: u32) -> EntryPage {
        broadcast_state::scan(state, range(within), bytes_max).into()
    }
    fn emit(records: Emission<'_>) {
        effects::emit(effects::OutputBatch {
            port: records.port,
            parents: records.parents,
            keys: records.keys.map(borrowed),
            values: records.values.map(borrowed),
            timestamps_ms: records.timestamps_ms,
            headers: records.headers.map(|headers| types::HeadersColumnParam {
                rows: &headers.rows,
                names: borrowed(&headers.names),
                values: borrowed(&headers.values),
            }),
        });
    }
    fn put_values(state: u32, key_rows: &[u32], values: &Column) {
        effects::put_values(state, key_rows, borrowed(values));
    }
    fn put_entries(state: u32, key_rows: &[u32], map_keys: &Column, values: &Column) {
        effects::put_entries(state, key_rows, borrowed(map_keys), borrowed(values));
    }
    fn append_elements(state: u32, key_rows: &[u32], elements: &Column) {
        effects::append_elements(state, key_rows, borrowed(elements));
    }
    fn clear(state: u32, key_rows: &[u32]) {
        effects::clear(state, key_rows);
    }
    fn touch(state: u32, key_rows: &[u32], map_keys: Option<&Column>) {
        effects::touch(state, key_rows, map_keys.map(borrowed));
    }
    fn set_timers(timer: u32, key_rows: &[u32], ids: &[u64], times_ms: &[i64]) {
        effects::set_timers(timer, key_rows, ids, times_ms);
    }
    fn cancel_timers(timer: u32, key_rows: &[u32], ids: &[u64]) {
        effects::cancel_timers(timer, key_rows, ids);
    }
    fn put_broadcast(state: u32, map_keys: &Column, values: &Column) {
        broadcast_state::put_entries(state, borrowed(map_keys), borrowed(values));
    }
    fn clear_broadcast(state: u32) {
        broadcast_state::clear(state);
    }
    fn mark() -> u32 {
        effects::mark()
    }
    fn undo_to(mark: u32) {
        effects::undo_to(mark);
    }
    fn reject(rows: Vec<(u32, String)>) {
        let rejections: Vec<_> = rows.iter().map(|(row, reason)| types::RejectionParam { row: *row, reason }).collect();
        effects::reject(&rejections);
    }
    fn log_enabled(level: Level) -> bool {
        log::enabled(level.into())
    }
    fn log(level: Level, row: Option<u32>, message: &str) {
        log::write(level.into(), row, message);
    }
    fn count(name: &str, delta: u64) {
        metrics::count(name, delta);
    }
    fn gauge(name: &str, value: f64) {
        metrics::gauge(name, value);
    }
    fn observe(name: &str, values: &[f64]) {
        metrics::observe(name, values);
    }
}

fn borrowed(column: &Column) -> types::BytesColumnParam<'_> {
    types::BytesColumnParam { ends: &column.ends, bytes: &column.bytes, absent: &column.absent }
}

fn range(within: Within<'_>) -> state::MapRange<'_> {
    state::MapRange { start: within.start, end: within.end, descending: within.descending }
}

impl From<state::EntryPage> for EntryPage {
    fn from(page: state::EntryPage) -> Self {
        Self { map_keys: page.map_keys.into(), values: page.values.into(), more: page.more }
    }
}

impl From<types::BytesColumnResult> for Column {
    fn from(column: types::BytesColumnResult) -> Self {
        Self { ends: column.ends, bytes: column.bytes, absent: column.absent }
    }
}

impl From<Level> for log::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Trace => Self::Trace,
            Level::Debug => Self::Debug,
            Level::Info => Self::Info,
            Level::Warn => Self::Warn,
            Level::Error => Self::Error,
        }
    }
}

trait Run {
    fn process(&mut self, call: &Call) -> Result<(), String>;
    fn process_broadcast(&mut self, call: &Call) -> Result<(), String>;
    fn on_timers(&mut self, call: &Call) -> Result<(), String>;
    fn on_windows(&mut self, call: &Call) -> Result<(), String>;
    fn migrate(&mut self, of: (u32, u32), values: &Column) -> Result<Column, migrate::Failure>;
}

impl<O: Operator> Run for Opened<O> {
    fn process(&mut self, call: &Call) -> Result<(), String> {
        self.instance.process(call)
    }
    fn process_broadcast(&mut self, call: &Call) -> Result<(), String> {
        match self.broadcast {
            Some(fold) => self.instance.process_broadcast(fold, call),
            None => Err("the operator has no broadcast input".into()),
        }
    }
    fn on_timers(&mut self, call: &Call) -> Result<(), String> {
        match self.timers {
            Some(handle) => self.instance.on_timers(handle, call),
            None => Err("the operator has no timers".into()),
        }
    }
    fn on_windows(&mut self, call: &Call) -> Result<(), String> {
        match self.windows {
            Some(handle) => self.instance.on_windows(handle, call),
            None => Err("the operator does not work inside windows".into()),
        }
    }
    fn migrate(&mut self, of: (u32, u32), values: &Column) -> Result<Column, migrate::Failure> {
        match self.migrate {
            Some(rewrite) => migrate::rewrite_all(self.instance.operator(), rewrite, of, values),
            None => Err(migrate::Failure::Stop("the operator migrates nothing".into())),
        }
    }
}

thread_local! {
    /// The one operator this instance was made. One dynamic call per batch, so that a component can hold several.
    static OPEN: RefCell<Option<Box<dyn Run>>> = const { RefCell::new(None) };
}

/// The row in hand, for the panic hook.
static ROW: AtomicU32 = AtomicU32::new(NO_ROW);
const NO_ROW: u32 = u32::MAX;

/// A catalog entry, for the export macro.
pub fn entry<O: Operator>(name: &str, version: &str) -> CatalogEntry {
    let config_schema = O::config_schema();
    CatalogEntry { name: name.into(), version: version.into(), config_schema, properties: Vec::new() }
}

/// An operator that is open, with what it can do: for the export macro.
#[derive(Debug)]
pub struct Opened<O> {
    instance: Instance<O>,
    descriptor: Descriptor,
    migrate: Option<Rewrite<O>>,
    broadcast: Option<Fold<O>>,
    timers: Option<Handle<O>>,
    windows: Option<HandleWindow<O>>,
}

impl<O: Operator> Opened<O> {
    /// Opens the operator `O`.
    ///
    /// # Errors
    /// The configuration is at fault.
    pub fn open(config: &str) -> Result<Self, String> {
        std::panic::set_hook(Box::new(tell_panic));
        let (instance, descriptor) = Instance::<O>::open(config)?;
        Ok(Self { instance, descriptor, migrate: None, broadcast: None, timers: None, windows: None })
    }

    /// Makes this instance of the component the operator.
    ///
    /// # Errors
    /// What the operator declares and what it can do do not agree.
    pub fn finish(self) -> Result<WireDescriptor, String> {
        match self.migrate {
            Some(rewrite) => migrate::check(self.instance.operator(), rewrite, &self.descriptor)?,
            None => migrate::check_none(&self.descriptor)?,
        }
        crate::broadcast::check(self.broadcast.is_some(), &self.descriptor)?;
        timer::check(self.timers.is_some(), &self.descriptor)?;
        window::check(self.windows.is_some(), &self.descriptor)?;
        let mut descriptor: WireDescriptor = self.descriptor.clone().into();
        if self.windows.is_some() {
            descriptor.windows = descriptors::WindowUse::Unmergeable;
        }
        OPEN.with_borrow_mut(|open| *open = Some(Box::new(self)));
        Ok(descriptor)
    }
}

impl<O: Migrate> Opened<O> {
    /// Lets it migrate state.
    #[must_use]
    pub fn with_migrate(self) -> Self {
        Self { migrate: Some(O::migrate), ..self }
    }
}

impl<O: OnBroadcast> Opened<O> {
    /// Lets it take records of broadcast inputs.
    #[must_use]
    pub fn with_on_broadcast(self) -> Self {
        Self { broadcast: Some(O::on_broadcast), ..self }
    }
}

impl<O: OnTimer> Opened<O> {
    /// Lets it handle timers.
    #[must_use]
    pub fn with_on_timer(self) -> Self {
        Self { timers: Some(O::on_timer), ..self }
    }
}

impl<O: OnWindow> Opened<O> {
    /// Has it work inside windows.
    #[must_use]
    pub fn with_on_window(self) -> Self {
        Self { windows: Some(O::on_window), ..self }
    }
}

/// The exported `process`.
///
/// # Errors
/// The operator asks the host to stop.
pub fn process(batch: Batch) -> Result<(), Failure> {
    let call = Call::new(batch.input, batch.key_rows, batch.timestamps_ms, batch.values.into());
    let result = OPEN.with_borrow_mut(|open| match open {
        Some(instance) => instance.process(&call),
        None => Err("process was called before open".into()),
    });
    ROW.store(NO_ROW, Ordering::Relaxed);
    result.map_err(Failure::Stop)
}

/// The exported `process-broadcast`.
///
/// # Errors
/// The operator asks the host to stop.
pub fn process_broadcast(batch: BroadcastBatch) -> Result<(), BroadcastFailure> {
    let values = Column { ends: batch.values.ends, bytes: batch.values.bytes, absent: batch.values.absent };
    let call = Call::new(batch.input, batch.key_rows, batch.timestamps_ms, values);
    let result = OPEN.with_borrow_mut(|open| match open {
        Some(operator) => operator.process_broadcast(&call),
        None => Err("process-broadcast was called before open".into()),
    });
    ROW.store(NO_ROW, Ordering::Relaxed);
    result.map_err(BroadcastFailure::Stop)
}

/// The exported `on-timers`.
///
/// # Errors
/// The operator asks the host to stop.
pub fn on_timers(batch: TimerBatch) -> Result<(), TimersFailure> {
    let call = Call::of_timers(FiredColumns { timers: batch.timers, ids: batch.ids }, batch.times_ms);
    let result = OPEN.with_borrow_mut(|open| match open {
        Some(operator) => operator.on_timers(&call),
        None => Err("on-timers was called before open".into()),
    });
    ROW.store(NO_ROW, Ordering::Relaxed);
    result.map_err(TimersFailure::Stop)
}

/// The exported `on-windows`.
///
/// # Errors
/// The operator asks the host to stop.
pub fn on_windows(batch: WindowBatch, firing: WireFiring) -> Result<(), WindowsFailure> {
    let firing = match firing {
        WireFiring::Early => Firing::Early,
        WireFiring::OnTime => Firing::OnTime,
        WireFiring::Late => Firing::Late,
    };
    let call = Call::of_windows(WindowColumns { starts_ms: batch.starts_ms, ends_ms: batch.ends_ms, firing });
    let result = OPEN.with_borrow_mut(|open| match open {
        Some(operator) => operator.on_windows(&call),
        None => Err("on-windows was called before open".into()),
    });
    ROW.store(NO_ROW, Ordering::Relaxed);
    result.map_err(WindowsFailure::Stop)
}

/// The exported `migrate`.
///
/// # Errors
/// Values that stay as they are, or the operator asks the host to stop.
pub fn migrate(state: u32, from_version: u32, values: OldColumn) -> Result<OldColumn, MigrationFailure> {
    let values = Column { ends: values.ends, bytes: values.bytes, absent: values.absent };
    let new = OPEN.with_borrow_mut(|open| match open {
        Some(operator) => operator.migrate((state, from_version), &values),
        None => Err(migrate::Failure::Stop("migrate was called before open".into())),
    });
    match new {
        Ok(Column { ends, bytes, absent }) => Ok(OldColumn { ends, bytes, absent }),
        Err(migrate::Failure::Stop(reason)) => Err(MigrationFailure::Stop(reason)),
        Err(migrate::Failure::Reject(rows)) => {
            let rejection = |(row, reason)| migration_bindings::millstream::operator::types::Rejection { row, reason };
            Err(MigrationFailure::Reject(rows.into_iter().map(rejection).collect()))
        }
    }
}

/// The last words of an operator go to its log: a trap has no text of its own.
fn tell_panic(panic: &PanicHookInfo<'_>) {
    let text = panic.payload_as_str().unwrap_or("no message");
    let row = Some(ROW.load(Ordering::Relaxed)).filter(|&row| row != NO_ROW);
    match panic.location() {
        Some(location) => log::write(log::Level::Error, row, &format!("panicked at {location}: {text}")),
        None => log::write(log::Level::Error, row, &format!("panicked: {text}")),
    }
}
