//! What the columnar world offers to the guest: every request is a few slices out of its memory, or a column lent to it.

use super::wire::{ColumnOut, LentColumn, LentHeaders, LogLevel, OutputOut, RejectionOut};
use crate::host::{GuestFault, Host};
use crate::log::{LineOrigin, enabled};
use millstream_engine::call::{Call, Fault, Metric};
use std::sync::Arc;
use wasmtime::component::{Linker, WasmList, WasmStr};
use wasmtime::{AsContext, Result, StoreContext, StoreContextMut};

pub(super) type Store<'a> = StoreContextMut<'a, Host>;

/// What a staged value, entry or element costs the host beside its bytes.
const ROW_BYTES: usize = 64;

pub(crate) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    context(linker)?;
    super::state::add_to_linker(linker)?;
    effects(linker)?;
    log(linker)?;
    metrics(linker)
}

/// Makes a request of the call in hand, with the guest's memory at hand to read from.
pub(crate) fn request<R>(
    store: &mut Store<'_>,
    make: impl FnOnce(&mut Call, &StoreContext<'_, Host>) -> std::result::Result<R, Fault>,
) -> Result<R> {
    let mut call = store.data_mut().take_call()?;
    let result = make(&mut call, &store.as_context());
    store.data_mut().put_call(call);
    Ok(result.map_err(GuestFault)?)
}

/// Lends the guest a column of the call in hand.
pub(super) fn lend(
    store: &mut Store<'_>,
    fill: impl FnOnce(&mut Call, &mut millstream_model::column::BytesColumn) -> std::result::Result<(), Fault>,
) -> Result<(Arc<LentColumn>,)> {
    let mut call = store.data_mut().take_call()?;
    let host = store.data_mut();
    let lent = host.lent.column.lend(|column| fill(&mut call, column));
    host.put_call(call);
    Ok((lent.map_err(GuestFault)?,))
}

fn context(linker: &mut Linker<Host>) -> Result<()> {
    let mut context = linker.instance("millstream:operator/context@0.1.0")?;
    context.func_wrap("keys", |mut store: Store<'_>, (): ()| {
        lend(&mut store, |call, column| {
            call.keys(column);
            Ok(())
        })
    })?;
    context.func_wrap("headers", |mut store: Store<'_>, (): ()| {
        Ok((LentHeaders::copy(&store.data_mut().call()?.batch.headers),))
    })?;
    context
        .func_wrap("watermark-ms", |mut store: Store<'_>, (): ()| Ok((store.data_mut().call()?.mark.watermark_ms,)))?;
    context.func_wrap("now-ms", |mut store: Store<'_>, (): ()| Ok((store.data_mut().call()?.mark.now_ms,)))
}

fn effects(linker: &mut Linker<Host>) -> Result<()> {
    let mut effects = linker.instance("millstream:operator/effects@0.1.0")?;
    effects.func_wrap("emit", |mut store: Store<'_>, (records,): (OutputOut,)| {
        store.data_mut().spend(records.records() * size_of::<u32>())?;
        request(&mut store, |call, memory| call.emit(records.read(memory)))
    })?;
    effects.func_wrap(
        "put-values",
        |mut store: Store<'_>, (state, key_rows, values): (u32, WasmList<u32>, ColumnOut)| {
            store.data_mut().spend(values.bytes_len() + key_rows.len() * size_of::<u64>())?;
            request(&mut store, |call, memory| {
                call.put_values(state, key_rows.as_le_slice(memory), values.read(memory))
            })
        },
    )?;
    effects.func_wrap(
        "put-entries",
        |mut store: Store<'_>, (state, key_rows, map_keys, values): (u32, WasmList<u32>, ColumnOut, ColumnOut)| {
            store.data_mut().spend(map_keys.bytes_len() + values.bytes_len() + key_rows.len() * ROW_BYTES)?;
            request(&mut store, |call, memory| {
                call.put_entries(state, key_rows.as_le_slice(memory), map_keys.read(memory), values.read(memory))
            })
        },
    )?;
    effects.func_wrap(
        "append-elements",
        |mut store: Store<'_>, (state, key_rows, elements): (u32, WasmList<u32>, ColumnOut)| {
            store.data_mut().spend(elements.bytes_len() + key_rows.len() * ROW_BYTES)?;
            request(&mut store, |call, memory| {
                call.append_elements(state, key_rows.as_le_slice(memory), elements.read(memory))
            })
        },
    )?;
    effects.func_wrap(
        "touch",
        |mut store: Store<'_>, (state, key_rows, map_keys): (u32, WasmList<u32>, Option<ColumnOut>)| {
            store.data_mut().spend(key_rows.len() * ROW_BYTES)?;
            request(&mut store, |call, memory| {
                let map_keys = map_keys.as_ref().map(|column| column.read(memory));
                call.touch(state, key_rows.as_le_slice(memory), map_keys)
            })
        },
    )?;
    effects.func_wrap("clear", |mut store: Store<'_>, (state, key_rows): (u32, WasmList<u32>)| {
        store.data_mut().spend(key_rows.len() * size_of::<u64>())?;
        request(&mut store, |call, memory| call.clear_state(state, key_rows.as_le_slice(memory)))
    })?;
    super::timers::add(&mut effects)?;
    effects.func_wrap("reject", |mut store: Store<'_>, (rejections,): (Vec<RejectionOut>,)| {
        for rejection in &rejections {
            store.data_mut().spend(size_of::<RejectionOut>())?;
            request(&mut store, |call, memory| {
                let reason = rejection.reason.to_str(memory).map_err(|error| Fault::Misuse(error.to_string()))?;
                call.reject(rejection.row, &reason)
            })?;
        }
        Ok(())
    })?;
    effects.func_wrap("mark", |mut store: Store<'_>, (): ()| {
        store.data_mut().spend(0)?;
        Ok((store.data_mut().call()?.mark_staged(),))
    })?;
    effects.func_wrap("undo-to", |mut store: Store<'_>, (mark,): (u32,)| {
        Ok(store.data_mut().call()?.undo_to(mark).map_err(GuestFault)?)
    })
}

fn log(linker: &mut Linker<Host>) -> Result<()> {
    let mut log = linker.instance("millstream:operator/log@0.1.0")?;
    log.func_wrap("enabled", |_: Store<'_>, (level,): (LogLevel,)| Ok((enabled(level.into()),)))?;
    log.func_wrap("write", |mut store: Store<'_>, (level, row, message): (LogLevel, Option<u32>, WasmStr)| {
        let origin = match (row, store.data_mut().call()) {
            (Some(row), Ok(call)) => origin(call, row)?,
            _ => None,
        };
        write_line(&store, level, origin, &message)
    })
}

/// Where a row comes from.
pub(crate) fn origin(call: &Call, row: u32) -> std::result::Result<LineOrigin, GuestFault> {
    match call.batch.origins.get(row as usize) {
        Some(origin) => Ok(Some((Arc::clone(&call.rules.places), *origin))),
        None if (row as usize) < call.batch.len() => Ok(None),
        None => {
            Err(GuestFault(Fault::Misuse(format!("a log line names row {row}, the batch has {}", call.batch.len()))))
        }
    }
}

/// Logs a line. An error's line is also kept for the reason of a trap: a panic has no text of its own.
pub(crate) fn write_line(store: &Store<'_>, level: LogLevel, origin: LineOrigin, message: &WasmStr) -> Result<()> {
    let log = &store.data().log;
    let text = message.to_str(store.as_context())?;
    if matches!(level, LogLevel::Error) {
        log.keep_last_words(&text);
    }
    log.line(level.into(), origin, &text);
    Ok(())
}

fn metrics(linker: &mut Linker<Host>) -> Result<()> {
    fn stage(mut store: Store<'_>, metric: Metric, bytes: usize) -> Result<()> {
        store.data_mut().spend(bytes)?;
        Ok(store.data_mut().call()?.metric(metric).map_err(GuestFault)?)
    }
    fn name(store: &Store<'_>, name: &WasmStr) -> Result<String> {
        Ok(name.to_str(store.as_context())?.into_owned())
    }
    let mut metrics = linker.instance("millstream:operator/metrics@0.1.0")?;
    metrics.func_wrap("count", |store: Store<'_>, (of, delta): (WasmStr, u64)| {
        let name = name(&store, &of)?;
        stage(store, Metric::Count(name, delta), 0)
    })?;
    metrics.func_wrap("gauge", |store: Store<'_>, (of, value): (WasmStr, f64)| {
        let name = name(&store, &of)?;
        stage(store, Metric::Gauge(name, value), 0)
    })?;
    metrics.func_wrap("observe", |store: Store<'_>, (of, mut values): (WasmStr, Vec<f64>)| {
        let name = name(&store, &of)?;
        values.retain(|value| !value.is_nan());
        let bytes = values.len() * size_of::<f64>();
        stage(store, Metric::Observe(name, values), bytes)
    })
}
