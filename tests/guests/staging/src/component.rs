//! The operators behind the contract: effects are staged, state is asked for.

use crate::work::{Column, Work, process};
use exports::millstream::operator::operator::{Batch, CatalogEntry, Descriptor, Failure, Guest};
use millstream::operator::descriptors::{
    InputDescriptor, InputKind, OutputDescriptor, StateDescriptor, StateKind, WindowUse,
};
use millstream::operator::types::BytesColumn;
use millstream::operator::{effects, state};
use std::cell::Cell;

wit_bindgen::generate!({ path: "../../../wit/operator", world: "stream-operator" });

thread_local! {
    static WORK: Cell<Work> = const { Cell::new(Work::Identity) };
}

struct Staging;

impl Guest for Staging {
    fn catalog() -> Vec<CatalogEntry> {
        let (name, version) = ("staging".to_owned(), "0.1.0".to_owned());
        vec![CatalogEntry { name, version, config_schema: None, properties: Vec::new() }]
    }

    /// The configuration is the name of an operator, as JSON text.
    fn open(_: String, config: String) -> Result<Descriptor, String> {
        let work = match config.trim_matches('"') {
            "identity" => Work::Identity,
            "filter" => Work::Filter,
            "count" => Work::Count,
            "split" => Work::Split,
            other => return Err(format!("there is no operator {other}")),
        };
        WORK.set(work);
        let seen = StateDescriptor {
            name: "seen".to_owned(),
            kind: StateKind::Value,
            version: 1,
            reads_versions: Vec::new(),
            migrates_versions: Vec::new(),
            ttl: None,
            properties: Vec::new(),
        };
        Ok(Descriptor {
            inputs: vec![InputDescriptor { name: "in".into(), kind: InputKind::Records, properties: Vec::new() }],
            outputs: vec![OutputDescriptor { name: "out".into(), properties: Vec::new() }],
            states: if work == Work::Count { vec![seen] } else { Vec::new() },
            timers: Vec::new(),
            windows: WindowUse::None,
            properties: Vec::new(),
        })
    }

    fn process(batch: Batch) -> Result<(), Failure> {
        crate::begin_call();
        let work = WORK.get();
        let seen = if work == Work::Count { ours(state::values(0)) } else { Column::default() };
        let done = process(work, &batch.key_rows, &ours(batch.values), &seen);
        if let Some((key_rows, values)) = done.put {
            effects::put_values(0, &key_rows, &theirs(values));
        }
        effects::emit(&effects::OutputBatch {
            port: 0,
            parents: done.parents,
            keys: done.keys.map(theirs),
            values: done.values.map(theirs),
            timestamps_ms: None,
            headers: None,
        });
        Ok(())
    }
}

fn ours(BytesColumn { ends, bytes, absent }: BytesColumn) -> Column {
    Column { ends, bytes, absent }
}

fn theirs(Column { ends, bytes, absent }: Column) -> BytesColumn {
    BytesColumn { ends, bytes, absent }
}

export!(Staging);
