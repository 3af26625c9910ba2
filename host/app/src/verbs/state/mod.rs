//! `millstream state`: what a stopped pipeline, or a checkpoint, keeps.

mod show;

use crate::cli::{Format, State as Verb, StateArgs};
use crate::compose;
use crate::config::{PipelineFile, Resolved};
use crate::error::{Failure, Outcome};
use comfy_table::Table;
use millstream_engine::commit::codec::{decode_commit, decode_open};
use millstream_engine::ports::{CellRange, Clock, Meta, StateBackend, SystemClock, prefix_end};
use millstream_model::cell::{self, CellSpace, GroupFact};
use millstream_model::commit::{Catalog, CommitRecord};
use millstream_model::descriptor::{StateDescriptor, StateKind, TimerClock, TimerDescriptor, TtlClock};
use millstream_model::key_group::{KEY_GROUPS, KeyGroup, key_group};
use millstream_state::{CheckpointStore, RocksStore, StateDir, store_path};
use serde::Serialize;
use serde_json::Value;

/// `millstream state`.
pub(crate) fn state(verb: &Verb) -> Outcome<()> {
    match verb {
        Verb::Get { state, key, map_key } => get(state, key, map_key.as_deref()),
        Verb::Scan { state, key, limit } => scan(state, key.as_deref(), *limit),
        Verb::Export { state } => export(state),
    }
}

/// A value, an entry or an element.
#[derive(Debug, Serialize)]
struct Row {
    operator: String,
    state: String,
    /// The key of the records; none in a broadcast state.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    map_key: Option<Value>,
    value: Value,
    /// Version of the state that wrote it.
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    refreshed_ms: Option<i64>,
}

/// A store that is looked at.
struct Held {
    store: RocksStore,
    /// What keeps others away from it, and what is removed afterwards.
    _directory: StateDir,
    _copy: Option<tempfile::TempDir>,
    applied: CommitRecord,
    catalog: Catalog,
}

/// A state of an operator.
struct Kept {
    operator: String,
    space: CellSpace,
    descriptor: StateDescriptor,
    /// Whether the operator could be asked what it is.
    is_described: bool,
}

fn get(arguments: &StateArgs, key: &str, map_key: Option<&str>) -> Outcome<()> {
    let (held, states) = open(arguments)?;
    let [state] = states.as_slice() else { return Err(several(&states)) };
    let typed = |codec: Option<&str>, text: &str| show::typed(codec, text).map_err(Failure::config);
    let user_key = if state.descriptor.kind == StateKind::Broadcast { Vec::new() } else { typed(None, key)? };
    let mut prefix = Vec::new();
    cell::write_key(&mut prefix, state.space, state.group(&user_key), &user_key, &[]);
    let mut wanted = prefix.clone();
    match (state.descriptor.kind, map_key) {
        (StateKind::Broadcast, None) => wanted.extend(typed(state.descriptor.property("key-codec"), key)?),
        (_, Some(map_key)) => wanted.extend(typed(state.descriptor.property("key-codec"), map_key)?),
        _ => {}
    }
    let is_one = state.descriptor.kind == StateKind::Value || wanted.len() > prefix.len() || map_key.is_some();
    let mut rows = Vec::new();
    held.walk(state, &wanted, &mut |cell_key, row| {
        if !is_one || cell_key == wanted {
            rows.push(row);
        }
        !is_one
    })?;
    if rows.is_empty() {
        return Err(Failure::failed(format!("nothing is kept under `{key}` in state `{}`", state.name())));
    }
    print(&rows, arguments.output)
}

fn scan(arguments: &StateArgs, key: Option<&str>, limit: usize) -> Outcome<()> {
    let (held, states) = open(arguments)?;
    let mut rows = Vec::new();
    for state in &states {
        let mut prefixes = Vec::new();
        if let Some(key) = key {
            let user_key = show::typed(None, key).map_err(Failure::config)?;
            let mut prefix = Vec::new();
            cell::write_key(&mut prefix, state.space, state.group(&user_key), &user_key, &[]);
            prefixes.push(prefix);
        } else {
            prefixes = state.groups();
        }
        for prefix in prefixes {
            held.walk(state, &prefix, &mut |_, row| {
                if rows.len() < limit {
                    rows.push(row);
                }
                rows.len() < limit
            })?;
        }
    }
    print(&rows, arguments.output)
}

/// Everything, a JSON object per line: as much as there is, so nothing is collected.
fn export(arguments: &StateArgs) -> Outcome<()> {
    let (held, states) = open(arguments)?;
    let mut broken = None;
    for state in &states {
        for prefix in state.groups() {
            held.walk(state, &prefix, &mut |_, row| match serde_json::to_string(&row) {
                Ok(line) => {
                    anstream::println!("{line}");
                    true
                }
                Err(error) => {
                    broken = Some(error);
                    false
                }
            })?;
        }
    }
    broken.map_or(Ok(()), |error| Err(Failure::failed(error)))
}

fn print(rows: &[Row], format: Format) -> Outcome<()> {
    if format == Format::Json {
        return super::print_json(&rows);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["state", "key", "map key", "value"]);
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for row in rows {
        let of = |value: &Option<Value>| value.as_ref().map(text).unwrap_or_default();
        table.add_row([format!("{}.{}", row.operator, row.state), of(&row.key), of(&row.map_key), text(&row.value)]);
    }
    anstream::println!("{table}");
    Ok(())
}

fn several(states: &[Kept]) -> Failure {
    let names: Vec<String> = states.iter().map(Kept::name).collect();
    Failure::config(format!("say which state is meant by `--operator` and `--state`: {}", names.join(", ")))
}

impl Kept {
    fn name(&self) -> String {
        format!("{}.{}", self.operator, self.descriptor.name)
    }

    fn group(&self, user_key: &[u8]) -> KeyGroup {
        if self.descriptor.kind == StateKind::Broadcast { KeyGroup(0) } else { key_group(user_key) }
    }

    /// What the cells of each key group begin with.
    fn groups(&self) -> Vec<Vec<u8>> {
        let groups = (0..KEY_GROUPS).filter_map(|group| u8::try_from(group).ok()).map(KeyGroup);
        let prefix = |group| {
            let mut prefix = Vec::new();
            cell::write_group(&mut prefix, self.space, group);
            prefix
        };
        groups.map(prefix).collect()
    }

    fn row(&self, cell: cell::CellKey<'_>, value: cell::CellValue<'_>) -> Row {
        let codec = |name: &str| self.descriptor.property(name);
        let has_map_key = match self.descriptor.kind {
            StateKind::Value => !self.is_described && !cell.cell_key.is_empty(),
            StateKind::List => false,
            StateKind::Map | StateKind::Broadcast => true,
        };
        Row {
            operator: self.operator.clone(),
            state: self.descriptor.name.clone(),
            key: (self.descriptor.kind != StateKind::Broadcast).then(|| show::plain(cell.user_key)),
            map_key: has_map_key.then(|| show::shown(codec("key-codec"), cell.cell_key)),
            value: show::shown(codec("codec").or_else(|| of_content(codec("content-type"))), value.bytes),
            version: value.version,
            refreshed_ms: value.refreshed_ms,
        }
    }
}

/// The codec that a media type stands for.
fn of_content(media_type: Option<&str>) -> Option<&'static str> {
    match media_type?.split(';').next()?.trim() {
        "application/json" => Some("json"),
        media_type if media_type.starts_with("text/") => Some("text"),
        _ => None,
    }
}

impl Held {
    /// Shows what lives of the cells with a prefix, until `visit` returns false.
    fn walk(&self, state: &Kept, prefix: &[u8], visit: &mut dyn FnMut(&[u8], Row) -> bool) -> Outcome<()> {
        let end = prefix_end(prefix);
        let range = CellRange { start: prefix, end: end.as_deref(), descending: false };
        let now_ms = self.now_ms(state);
        let mut failed = None;
        let walked = self.store.range(range, &mut |key, stored| {
            if cell::is_fact_key(key) {
                return true;
            }
            let (Some(cell), Some(value)) = (cell::read_key(key), cell::read_value(stored)) else {
                failed = Some(Failure::failed("a cell that is none: the store is damaged"));
                return false;
            };
            match self.is_over(state, cell.group, &value, now_ms) {
                Ok(true) => true,
                Ok(false) => visit(key, state.row(cell, value)),
                Err(failure) => {
                    failed = Some(failure);
                    false
                }
            }
        });
        walked.map_err(Failure::failed)?;
        failed.map_or(Ok(()), Err)
    }

    /// What a state's clock shows: the watermark of the commit, or the time of day.
    fn now_ms(&self, state: &Kept) -> Option<i64> {
        match state.descriptor.ttl?.clock {
            TtlClock::Processing => Some(SystemClock::default().now_ms()),
            TtlClock::Event => {
                let committed = self.applied.operators.iter().find(|operator| operator.id == state.operator);
                committed.and_then(|operator| operator.watermark_ms)
            }
        }
    }

    /// Whether a value's time to live is over.
    fn is_over(
        &self,
        state: &Kept,
        group: KeyGroup,
        value: &cell::CellValue<'_>,
        now_ms: Option<i64>,
    ) -> Outcome<bool> {
        let (Some(ttl), Some(now_ms)) = (state.descriptor.ttl, now_ms) else { return Ok(false) };
        let refreshed_ms = match value.refreshed_ms {
            Some(refreshed_ms) => Some(refreshed_ms),
            None => self.lives_since_ms(state, group)?,
        };
        Ok(refreshed_ms.is_some_and(|refreshed_ms| ttl.has_expired(refreshed_ms, now_ms)))
    }

    fn lives_since_ms(&self, state: &Kept, group: KeyGroup) -> Outcome<Option<i64>> {
        let (mut wanted, mut found) = Default::default();
        millstream_model::BytesColumn::push_with(&mut wanted, |to| {
            cell::write_fact_key(to, state.space, group, GroupFact::LivesSince);
        });
        self.store.read(&wanted, &mut found).map_err(Failure::failed)?;
        let bytes = found.get(0).and_then(cell::read_value).and_then(|value| value.bytes.try_into().ok());
        Ok(bytes.map(i64::from_be_bytes))
    }
}

/// Opens what is to be looked at, and finds the states that are meant.
fn open(arguments: &StateArgs) -> Outcome<(Held, Vec<Kept>)> {
    let file = PipelineFile::read(&arguments.pipeline.file)?;
    let resolved = super::with_overrides(&file, &arguments.overrides)?;
    let held = match &arguments.checkpoint {
        Some(checkpoint) => hold_checkpoint(checkpoint)?,
        None => hold(&resolved)?,
    };
    let described = compose::load(&file, &resolved);
    if let Err(failure) = &described {
        tracing::warn!("operators cannot be asked what their state is, so it is shown as bytes: {}", failure.text);
    }
    let descriptor = |operator: &str, state: &str| {
        let plan = &described.as_ref().ok()?.plan;
        let node = plan.operators.iter().find(|node| node.id == operator)?;
        node.descriptor.states.iter().find(|other| other.name == state).cloned().or_else(|| timers(state))
    };
    let is_meant = |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|asked| asked == name);
    let mut states = Vec::new();
    for (operator, entry) in held.catalog.operators.iter().filter(|(id, _)| is_meant(&arguments.operator, id)) {
        let is_index = |name: &str| TimerClock::ALL.into_iter().any(|clock| clock.index_name() == name);
        let shown = entry.states.iter().filter(|(name, _)| !is_index(name));
        for (name, &state) in shown.filter(|(name, _)| is_meant(&arguments.state, name)) {
            let found = descriptor(operator, name);
            states.push(Kept {
                operator: operator.clone(),
                space: CellSpace { operator: entry.number, state },
                is_described: found.is_some(),
                descriptor: found.unwrap_or_else(|| StateDescriptor::new(name, StateKind::Value)),
            });
        }
    }
    if states.is_empty() {
        let known = held.catalog.operators.iter();
        let known: Vec<String> =
            known.flat_map(|(id, entry)| entry.states.keys().map(move |state| format!("{id}.{state}"))).collect();
        return Err(Failure::config(format!("there is no such state; the pipeline has: {}", known.join(", "))));
    }
    Ok((held, states))
}

/// The pending timers of a name, as a state: times by id.
fn timers(name: &str) -> Option<StateDescriptor> {
    let is_timer = name.starts_with(TimerDescriptor::CELLS_PREFIX);
    let property = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let properties = vec![property("key-codec", "u64"), property("codec", "i64")];
    is_timer.then(|| StateDescriptor { properties, ..StateDescriptor::new(name, StateKind::Map) })
}

fn hold(resolved: &Resolved) -> Outcome<Held> {
    if !store_path(&resolved.state_dir).exists() {
        let path = resolved.state_dir.display();
        return Err(Failure::config(format!("there is no state in `{path}`: the pipeline has not run here")));
    }
    let directory = StateDir::take(&resolved.state_dir, &resolved.id).map_err(|error| Failure::of_directory(&error))?;
    held(directory, None)
}

/// A checkpoint's files have other names than a store's, so that it is copied first.
fn hold_checkpoint(path: &std::path::Path) -> Outcome<Held> {
    let (place, name) = CheckpointStore::locate(path).map_err(Failure::failed)?;
    let checkpoint = place.inspect(&name).map_err(Failure::failed)?;
    let copy = tempfile::tempdir().map_err(|cause| Failure::failed(format!("no temporary directory: {cause}")))?;
    let directory = StateDir::take(copy.path(), &checkpoint.pipeline).map_err(Failure::failed)?;
    place.restore(&name, &directory).map_err(Failure::failed)?;
    held(directory, Some(copy))
}

fn held(directory: StateDir, copy: Option<tempfile::TempDir>) -> Outcome<Held> {
    let store = RocksStore::open_read_only(&directory.store()).map_err(Failure::failed)?;
    let fact = |name| store.meta(name).map_err(Failure::failed);
    if fact(Meta::Restoring)?.is_some() {
        return Err(Failure::failed(
            "a restore of the state was cut off: the next start of the pipeline makes it again",
        ));
    }
    let applied = fact(Meta::Applied)?.map(|bytes| decode_commit(&bytes)).transpose().map_err(Failure::failed)?;
    let applied = applied.ok_or_else(|| Failure::failed("the pipeline has committed nothing yet"))?;
    let open = fact(Meta::Open)?.map(|bytes| decode_open(&bytes)).transpose().map_err(Failure::failed)?;
    let mut catalog = open.map(|open| open.catalog).unwrap_or_default();
    catalog.extend(&applied.catalog);
    Ok(Held { store, _directory: directory, _copy: copy, applied, catalog })
}
