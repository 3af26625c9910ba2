//! What the simple world offers to the guest. Everything is about the record in hand.

use super::StopRequest;
use crate::columnar::{LogLevel, origin, request, write_line};
use crate::host::Host;
use millstream_engine::call::{Call, EntryRange, Fault, OutputColumns};
use millstream_model::column::BytesColumn;
use millstream_model::column_ref::ColumnRef;
use wasmtime::component::{Linker, WasmList, WasmStr};
use wasmtime::{Result, StoreContext, StoreContextMut};

type Store<'a> = StoreContextMut<'a, Host>;
type Requested<T> = std::result::Result<T, Fault>;
type Header = (String, Option<Vec<u8>>);

/// Longest name of a value in state, in bytes.
const NAME_BYTES_MAX: usize = 1 << 10;

/// Names that one request may be answered with.
const NAMES_MAX: usize = 10_000;

pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    context(linker)?;
    state(linker)?;
    output(linker)?;
    let mut log = linker.instance("millstream:record-operator/log@0.1.0")?;
    log.func_wrap("write", |mut store: Store<'_>, (level, message): (LogLevel, WasmStr)| {
        let row = store.data().record.row;
        let origin = match store.data_mut().call() {
            Ok(call) => origin(call, row)?,
            Err(_) => None,
        };
        write_line(&store, level, origin, &message)
    })
}

fn context(linker: &mut Linker<Host>) -> Result<()> {
    let mut context = linker.instance("millstream:record-operator/context@0.1.0")?;
    context.func_wrap("config", |store: Store<'_>, (): ()| Ok((store.data().record.config.to_string(),)))?;
    context.func_wrap("input", |mut store: Store<'_>, (): ()| {
        let call = store.data_mut().call()?;
        Ok((call.rules.inputs.get(call.input as usize).cloned().unwrap_or_default(),))
    })?;
    context.func_wrap("headers", |mut store: Store<'_>, (): ()| {
        let row = store.data().record.row;
        let headers = &store.data_mut().call()?.batch.headers;
        let of = |(name, value): (&[u8], Option<&[u8]>)| -> Header {
            (String::from_utf8_lossy(name).into_owned(), value.map(<[u8]>::to_vec))
        };
        Ok((headers.of(row).map(of).collect::<Vec<Header>>(),))
    })?;
    context
        .func_wrap("watermark-ms", |mut store: Store<'_>, (): ()| Ok((store.data_mut().call()?.mark.watermark_ms,)))?;
    context.func_wrap("now-ms", |mut store: Store<'_>, (): ()| Ok((store.data_mut().call()?.mark.now_ms,)))?;
    context.func_wrap("stop", |_: Store<'_>, (reason,): (String,)| -> Result<()> { Err(StopRequest(reason).into()) })
}

/// The key row of the record in hand.
fn key_row(call: &Call, row: u32) -> Requested<u32> {
    if call.batch.keys.get(row).is_none() {
        return Err(Fault::Misuse("it asked for state, and the record has no key".to_owned()));
    }
    Ok(call.key_rows.get(row as usize).copied().unwrap_or_default())
}

fn text<'a>(text: &WasmStr, memory: &'a StoreContext<'_, Host>) -> Requested<std::borrow::Cow<'a, str>> {
    text.to_str(memory).map_err(|error| Fault::Misuse(error.to_string()))
}

fn state(linker: &mut Linker<Host>) -> Result<()> {
    let mut state = linker.instance("millstream:record-operator/state@0.1.0")?;
    state.func_wrap("get", |mut store: Store<'_>, (name,): (WasmStr,)| {
        let row = store.data().record.row;
        let value = request(&mut store, |call, memory| {
            let key_row = key_row(call, row)?;
            call.entry(0, key_row, text(&name, memory)?.as_bytes())
        })?;
        Ok((value,))
    })?;
    state.func_wrap("put", |mut store: Store<'_>, (name, value): (WasmStr, WasmList<u8>)| {
        let row = store.data().record.row;
        store.data_mut().spend(value.len())?;
        request(&mut store, |call, memory| {
            let key_row = key_row(call, row)?;
            let name = text(&name, memory)?;
            if name.len() > NAME_BYTES_MAX {
                let reason = format!("a name in state has {} bytes, at most {NAME_BYTES_MAX} are allowed", name.len());
                return Err(Fault::Refuse { row, reason });
            }
            call.put_entry(0, key_row, name.as_bytes(), Some(value.as_le_slice(memory)))
        })
    })?;
    state.func_wrap("remove", |mut store: Store<'_>, (name,): (WasmStr,)| {
        let row = store.data().record.row;
        store.data_mut().spend(NAME_BYTES_MAX)?;
        request(&mut store, |call, memory| {
            let key_row = key_row(call, row)?;
            let name = text(&name, memory)?;
            // A name that cannot have been put is not there.
            if name.len() > NAME_BYTES_MAX {
                return Ok(());
            }
            call.put_entry(0, key_row, name.as_bytes(), None)
        })
    })?;
    state.func_wrap("names", |mut store: Store<'_>, (prefix, after, count_max): (WasmStr, Option<WasmStr>, u32)| {
        let row = store.data().record.row;
        let names = request(&mut store, |call, memory| {
            let key_row = key_row(call, row)?;
            let (prefix, after) = (text(&prefix, memory)?, after.map(|after| text(&after, memory)).transpose()?);
            let range = EntryRange {
                prefix: prefix.as_bytes(),
                after: after.as_ref().map(|after| after.as_bytes()),
                // One more than may be given tells that there are more.
                count_max: (count_max as usize).min(NAMES_MAX + 1),
            };
            let names = call.entry_keys(0, key_row, range)?;
            if names.len() > NAMES_MAX {
                let reason = format!(
                    "it asked for more than {NAMES_MAX} names in state at once: page through them with `after`"
                );
                return Err(Fault::Refuse { row, reason });
            }
            Ok(names)
        })?;
        store.data_mut().spend(names.iter().map(Vec::len).sum())?;
        let names: Vec<String> = names.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        Ok((names,))
    })
}

/// Arguments of `emit-with`.
type EmitWith = (WasmStr, Option<WasmList<u8>>, Option<WasmList<u8>>, i64, Vec<Header>);

/// What a record emits, still in the guest's memory.
struct Emission {
    port: WasmStr,
    key: Option<WasmList<u8>>,
    value: Option<WasmList<u8>>,
}

/// A column of one row.
struct One<'a> {
    ends: [u32; 1],
    value: Option<&'a [u8]>,
}

impl<'a> One<'a> {
    fn new(value: Option<&'a [u8]>) -> Self {
        Self { ends: [value.map_or(0, <[u8]>::len) as u32], value }
    }

    fn column(&self) -> ColumnRef<'_> {
        let absent: &[u32] = if self.value.is_none() { &[0] } else { &[] };
        ColumnRef { ends: &self.ends, bytes: self.value.unwrap_or_default(), absent }
    }
}

fn output(linker: &mut Linker<Host>) -> Result<()> {
    let mut output = linker.instance("millstream:record-operator/output@0.1.0")?;
    output.func_wrap(
        "emit",
        |store: Store<'_>, (port, key, value): (WasmStr, Option<WasmList<u8>>, Option<WasmList<u8>>)| {
            emit(store, &Emission { port, key, value }, None)
        },
    )?;
    output.func_wrap("emit-with", |store: Store<'_>, (port, key, value, timestamp_ms, headers): EmitWith| {
        emit(store, &Emission { port, key, value }, Some((timestamp_ms, headers)))
    })
}

fn emit(mut store: Store<'_>, emission: &Emission, with: Option<(i64, Vec<Header>)>) -> Result<()> {
    let row = store.data().record.row;
    let (mut rows, mut names, mut values) = (Vec::new(), BytesColumn::default(), BytesColumn::default());
    let timestamp = with.map(|(timestamp_ms, headers)| {
        for (name, value) in &headers {
            rows.push(0);
            names.push(Some(name.as_bytes()));
            values.push(value.as_deref());
        }
        [timestamp_ms]
    });
    store.data_mut().spend(names.bytes_len() + values.bytes_len())?;
    request(&mut store, |call, memory| {
        let key = One::new(emission.key.as_ref().map(|key| key.as_le_slice(memory)));
        let value = One::new(emission.value.as_ref().map(|value| value.as_le_slice(memory)));
        let headers = timestamp.is_some().then(|| (&*rows, borrowed(&names), borrowed(&values)));
        let port = port(call, &text(&emission.port, memory)?)?;
        call.emit(OutputColumns {
            port,
            parents: &[row],
            keys: Some(key.column()),
            values: Some(value.column()),
            timestamps_ms: timestamp.as_ref().map(<[i64; 1]>::as_slice),
            headers,
        })
    })
}

fn borrowed(column: &BytesColumn) -> ColumnRef<'_> {
    ColumnRef { ends: column.ends(), bytes: column.bytes(), absent: column.absent() }
}

fn port(call: &Call, name: &str) -> Requested<u32> {
    let ports = &call.rules.ports;
    let found = if name.is_empty() && ports.len() == 1 { Some(0) } else { ports.iter().position(|port| port == name) };
    found.map(|at| at as u32).ok_or_else(|| {
        let reason = if name.is_empty() { "more than one output: name the one" } else { "no such output" };
        Fault::Misuse(format!("it emits to `{name}`: {reason} (the pipeline file has {})", ports.join(", ")))
    })
}
