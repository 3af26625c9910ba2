//! Reads of state, and broadcast states, as the columnar world offers them.

use super::imports::{Store, lend, request};
use super::wire::{ColumnOut, LentElements, LentEntries, MapRangeOut};
use crate::host::{GuestFault, Host};
use millstream_engine::call::{Call, EntryPage, Fault, MapRange};
use std::sync::Arc;
use wasmtime::component::{Linker, WasmList};
use wasmtime::{AsContext, Result};

/// What an entry of a broadcast state costs the host beside its bytes.
const ENTRY_BYTES: usize = 96;

pub(super) fn add_to_linker(linker: &mut Linker<Host>) -> Result<()> {
    state(linker)?;
    broadcast_state(linker)
}

/// Lends the guest a page of entries.
fn lend_entries(
    mut store: Store<'_>,
    within: &MapRangeOut,
    scan: impl FnOnce(&mut Call, MapRange<'_>, &mut EntryPage) -> std::result::Result<(), Fault>,
) -> Result<(Arc<LentEntries>,)> {
    let mut call = store.data_mut().take_call()?;
    let mut pages = std::mem::take(&mut store.data_mut().lent.entries);
    let lent = pages.lend(|page| scan(&mut call, within.read(&store.as_context()), page));
    let host = store.data_mut();
    host.lent.entries = pages;
    host.put_call(call);
    Ok((lent.map_err(GuestFault)?,))
}

/// Lends the guest a page of elements.
fn lend_elements(
    mut store: Store<'_>,
    (state, key_row, first, bytes_max): (u32, u32, u64, u32),
) -> Result<(Arc<LentElements>,)> {
    let mut call = store.data_mut().take_call()?;
    let host = store.data_mut();
    let lent = host.lent.elements.lend(|elements| call.elements((state, key_row), first, bytes_max, elements));
    host.put_call(call);
    Ok((lent.map_err(GuestFault)?,))
}

/// Lends the guest a column that is asked for with columns of its own.
fn lend_asked(
    mut store: Store<'_>,
    ask: impl FnOnce(
        &mut Call,
        &wasmtime::StoreContext<'_, Host>,
        &mut millstream_model::column::BytesColumn,
    ) -> std::result::Result<(), Fault>,
) -> Result<(Arc<super::wire::LentColumn>,)> {
    let mut call = store.data_mut().take_call()?;
    let mut column = std::mem::take(&mut store.data_mut().lent.column);
    let lent = column.lend(|column| ask(&mut call, &store.as_context(), column));
    let host = store.data_mut();
    host.lent.column = column;
    host.put_call(call);
    Ok((lent.map_err(GuestFault)?,))
}

fn state(linker: &mut Linker<Host>) -> Result<()> {
    let mut state = linker.instance("millstream:operator/state@0.1.0")?;
    state.func_wrap("values", |mut store: Store<'_>, (state,): (u32,)| {
        lend(&mut store, |call, column| call.values(state, column))
    })?;
    state.func_wrap("entries", |store: Store<'_>, (state, key_rows, map_keys): (u32, WasmList<u32>, ColumnOut)| {
        lend_asked(store, |call, memory, values| {
            call.entries(state, key_rows.as_le_slice(memory), map_keys.read(memory), values)
        })
    })?;
    state.func_wrap(
        "scan",
        |store: Store<'_>, (state, key_row, within, bytes_max): (u32, u32, MapRangeOut, u32)| {
            lend_entries(store, &within, |call, within, page| call.scan((state, key_row), within, bytes_max, page))
        },
    )?;
    state.func_wrap("elements", |store: Store<'_>, asked: (u32, u32, u64, u32)| lend_elements(store, asked))
}

fn broadcast_state(linker: &mut Linker<Host>) -> Result<()> {
    let mut state = linker.instance("millstream:operator/broadcast-state@0.1.0")?;
    state.func_wrap("revision", |mut store: Store<'_>, (state,): (u32,)| {
        Ok((store.data_mut().call()?.revision(state).map_err(GuestFault)?,))
    })?;
    state.func_wrap("entries", |store: Store<'_>, (state, map_keys): (u32, ColumnOut)| {
        lend_asked(store, |call, memory, values| call.broadcast_entries(state, map_keys.read(memory), values))
    })?;
    state.func_wrap("scan", |store: Store<'_>, (state, within, bytes_max): (u32, MapRangeOut, u32)| {
        lend_entries(store, &within, |call, within, page| call.broadcast_scan(state, within, bytes_max, page))
    })?;
    state.func_wrap(
        "put-entries",
        |mut store: Store<'_>, (state, map_keys, values): (u32, ColumnOut, ColumnOut)| {
            let bytes = map_keys.bytes_len() + values.bytes_len() + map_keys.rows() * ENTRY_BYTES;
            store.data_mut().spend(bytes)?;
            request(&mut store, |call, memory| call.put_broadcast(state, map_keys.read(memory), values.read(memory)))
        },
    )?;
    state.func_wrap("clear", |mut store: Store<'_>, (state,): (u32,)| {
        store.data_mut().spend(0)?;
        Ok(store.data_mut().call()?.clear_broadcast(state).map_err(GuestFault)?)
    })
}
