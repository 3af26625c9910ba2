use crate::options;
use millstream_engine::ports::{ChangeSet, Meta, StateBackend, StateError};
use millstream_model::column::BytesColumn;
use rocksdb::{ColumnFamily, DB, IteratorMode, ReadOptions, WriteBatch, WriteOptions};
use std::path::{Path, PathBuf};

/// The cells.
const CELLS: &str = "cells";

/// Facts beside the cells.
const META: &str = "meta";

/// Keyed state in RocksDB: one database with a column family of cells and one of facts. What is written is exactly the fold of all commits up to `applied`;
/// nothing of an undecided epoch ever gets here.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
}

impl RocksStore {
    /// Opens the store in a directory, made if it is not there, with about `memory_bytes` for its caches and buffers.
    ///
    /// # Errors
    /// When the directory cannot be used or what lies there is damaged.
    pub fn open(path: &Path, memory_bytes: u64) -> Result<Self, StateError> {
        let families = options::families(memory_bytes);
        let cells = rocksdb::ColumnFamilyDescriptor::new(CELLS, families.cells);
        let meta = rocksdb::ColumnFamilyDescriptor::new(META, families.meta);
        let db = DB::open_cf_descriptors(&options::database(memory_bytes), path, [cells, meta])
            .map_err(|error| open_error(path, &error))?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// Opens a store for reading only, beside a process that may be writing: what it shows is from the moment of the opening.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn open_read_only(path: &Path) -> Result<Self, StateError> {
        let db = DB::open_cf_for_read_only(&rocksdb::Options::default(), path, [CELLS, META], false)
            .map_err(|error| open_error(path, &error))?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn database(&self) -> &DB {
        &self.db
    }

    /// Sizes, by RocksDB's names, for people.
    #[must_use]
    pub fn sizes(&self) -> Vec<(&'static str, u64)> {
        const NAMES: [&str; 4] = [
            "rocksdb.estimate-num-keys",
            "rocksdb.live-sst-files-size",
            "rocksdb.cur-size-all-mem-tables",
            "rocksdb.block-cache-usage",
        ];
        let Ok(cells) = self.family(CELLS) else { return Vec::new() };
        let size = |name| Some((name, self.db.property_int_value_cf(cells, name).ok()??));
        NAMES.into_iter().filter_map(size).collect()
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily, StateError> {
        self.db.cf_handle(name).ok_or_else(|| self.error(format!("column family `{name}` is missing: {DAMAGED}")))
    }

    fn error(&self, reason: String) -> StateError {
        StateError { path: self.path.display().to_string(), reason }
    }

    fn failed(&self, doing: &str, error: &rocksdb::Error) -> StateError {
        self.error(format!("{doing}: {error}; {}", advice(error)))
    }
}

/// What to do about a damaged store.
const DAMAGED: &str = "the store is damaged; nothing was changed. Move the directory away and start again: the state is restored from the changelog, \
    or with `run --from-checkpoint` where there is none";

fn advice(error: &rocksdb::Error) -> &'static str {
    match error.kind() {
        rocksdb::ErrorKind::Corruption | rocksdb::ErrorKind::InvalidArgument => DAMAGED,
        rocksdb::ErrorKind::IOError if error.as_ref().contains("No space left") => {
            "free some space and start again: nothing that was committed is lost"
        }
        rocksdb::ErrorKind::IOError if error.as_ref().contains("No such file") => DAMAGED,
        rocksdb::ErrorKind::IOError => "check the disk and the permissions of the directory, and start again",
        _ => "start again; nothing that was committed is lost",
    }
}

fn open_error(path: &Path, error: &rocksdb::Error) -> StateError {
    StateError { path: path.display().to_string(), reason: format!("cannot be opened: {error}; {}", advice(error)) }
}

fn meta_key(name: Meta) -> &'static [u8] {
    match name {
        Meta::Applied => b"applied",
        Meta::Open => b"open",
        Meta::Restoring => b"restoring",
    }
}

impl StateBackend for RocksStore {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        let cells = self.family(CELLS)?;
        let mut order: Vec<u32> = (0..keys.len() as u32).collect();
        // Neighbours in the store are looked up together.
        order.sort_unstable_by(|a, b| keys.get(*a).cmp(&keys.get(*b)));
        let sorted = order.iter().map(|row| keys.get(*row).unwrap_or_default());
        let sorted: Vec<&[u8]> = sorted.collect();
        let mut found: Vec<Option<rocksdb::DBPinnableSlice<'_>>> = Vec::new();
        found.resize_with(order.len(), || None);
        for (row, value) in order.iter().zip(self.db.batched_multi_get_cf(cells, sorted, true)) {
            let value = value.map_err(|error| self.failed("reading", &error))?;
            if let Some(place) = found.get_mut(*row as usize) {
                *place = value;
            }
        }
        for value in &found {
            values.push(value.as_deref());
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StateError> {
        let cells = self.family(CELLS)?;
        let mut options = ReadOptions::default();
        options.set_total_order_seek(true);
        let from = after.unwrap_or(prefix);
        let start = IteratorMode::From(from, rocksdb::Direction::Forward);
        for cell in self.db.iterator_cf_opt(cells, options, start) {
            let (key, value) = cell.map_err(|error| self.failed("scanning", &error))?;
            if !key.starts_with(prefix) {
                break;
            }
            if after == Some(&*key) {
                continue;
            }
            if !visit(&key, &value) {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: &[ChangeSet], meta: &[(Meta, Option<&[u8]>)], sync: bool) -> Result<(), StateError> {
        let (cells, facts) = (self.family(CELLS)?, self.family(META)?);
        let mut batch = WriteBatch::default();
        for changes in changes {
            put_sorted(&mut batch, cells, changes);
        }
        for (name, value) in meta {
            match value {
                Some(value) => batch.put_cf(facts, meta_key(*name), value),
                None => batch.delete_cf(facts, meta_key(*name)),
            }
        }
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch, &options).map_err(|error| self.failed("writing", &error))
    }

    fn meta(&self, name: Meta) -> Result<Option<Vec<u8>>, StateError> {
        let facts = self.family(META)?;
        self.db.get_cf(facts, meta_key(name)).map_err(|error| self.failed("reading", &error))
    }

    fn clear(&self) -> Result<(), StateError> {
        let (cells, facts) = (self.family(CELLS)?, self.family(META)?);
        let mut batch = WriteBatch::default();
        batch.delete_range_cf(cells, &[][..], &[0xff; 8][..]);
        for name in [Meta::Applied, Meta::Open, Meta::Restoring] {
            batch.delete_cf(facts, meta_key(name));
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options).map_err(|error| self.failed("emptying", &error))
    }
}

/// Adds changes in the order of their keys, which the memtable takes faster. Of equal keys the last counts.
fn put_sorted(batch: &mut WriteBatch, cells: &ColumnFamily, changes: &ChangeSet) {
    let mut order: Vec<u32> = (0..changes.len() as u32).collect();
    order.sort_by(|a, b| changes.keys.get(*a).cmp(&changes.keys.get(*b)));
    for row in order {
        let key = changes.keys.get(row).unwrap_or_default();
        match changes.values.get(row) {
            Some(value) => batch.put_cf(cells, key, value),
            None => batch.delete_cf(cells, key),
        }
    }
}
