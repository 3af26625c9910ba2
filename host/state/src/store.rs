use crate::batch::{self, Batch};
use crate::error::Error;
use crate::seal::Seal;
use crate::sizes::StoreSizes;
use crate::{faults, options};
use millstream_engine::ports::{CellRange, ChangeSet, Meta, StateBackend, StateError};
use millstream_model::column::BytesColumn;
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, DBPinnableSlice, ReadOptions, WriteOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The one column family. A second one for the facts would be written to files at other moments than the cells: when a piece of RocksDB's manifest is
/// lost, the facts of one commit would meet the cells of another.
const FAMILY: &str = "default";

/// Begins the keys of facts; those of cells end below, because no key group is that high.
const FACTS: [u8; 4] = [0xff; 4];

/// Attempts at opening a store for reading beside a process that may remove files meanwhile.
const READ_ONLY_ATTEMPTS: u32 = 5;

/// Keyed state in RocksDB: cells under their keys, facts beyond the last cell. What is written is exactly the fold of all commits up to `applied`;
/// nothing of an undecided epoch ever gets here.
pub struct RocksStore {
    db: DB,
    path: PathBuf,
    /// No cell was ever written, or all were removed: reads need not look. Cleared before the first cell is written.
    is_empty: AtomicBool,
    /// Locked once per write, by the one thread that writes; none if this process only looks.
    seal: Option<Mutex<Seal>>,
}

impl RocksStore {
    /// Opens the store in a directory, made if it is not there, with about `memory_bytes` for its caches and buffers.
    ///
    /// # Errors
    /// When the directory cannot be used or what lies there is damaged; nothing was changed then.
    pub fn open(path: &Path, memory_bytes: u64) -> Result<Self, StateError> {
        refuse_headless(path)?;
        Seal::check(path)?;
        std::fs::create_dir_all(path).map_err(|cause| Error::disk("make directory", path, &cause))?;
        let family = ColumnFamilyDescriptor::new(FAMILY, options::cells(memory_bytes));
        let db = options::database(memory_bytes, has_file(path, |name, _| name.ends_with(".log")))
            .and_then(|options| DB::open_cf_descriptors(&options, path, [family]));
        let mut store = Self::opened(db.map_err(|error| faults::failed(path, "cannot be opened", &error))?, path)?;
        store.seal = Some(Mutex::new(Seal::new(path)));
        store.follow();
        Ok(store)
    }

    /// Opens a store for reading only, also beside the process that writes it: what it shows is from the moment of the opening.
    ///
    /// # Errors
    /// When there is none, or it is damaged.
    pub fn open_read_only(path: &Path) -> Result<Self, StateError> {
        if !path.join("CURRENT").exists() {
            return Err(StateError {
                path: path.display().to_string(),
                reason: "there is no store here: the pipeline has not run with this `state.dir`".to_owned(),
            });
        }
        let mut attempt = 1;
        loop {
            match DB::open_cf_for_read_only(&options::read_only(), path, [FAMILY], false) {
                Ok(db) => return Self::opened(db, path),
                Err(error) if attempt == READ_ONLY_ATTEMPTS => {
                    return Err(faults::failed(path, "cannot be opened", &error));
                }
                Err(_) => attempt += 1,
            }
        }
    }

    fn opened(db: DB, path: &Path) -> Result<Self, StateError> {
        if !batch::layout_is_known() {
            return Err(StateError {
                path: path.display().to_string(),
                reason: "this RocksDB has another layout of write batches: build Millstream with the one that Cargo.lock names".to_owned(),
            });
        }
        let store = Self { db, path: path.to_owned(), is_empty: AtomicBool::new(false), seal: None };
        let mut is_empty = true;
        store.scan(&[], None, &mut |_, _| {
            is_empty = false;
            false
        })?;
        store.is_empty.store(is_empty, Ordering::Release);
        Ok(store)
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the store takes.
    #[must_use]
    pub fn sizes(&self) -> StoreSizes {
        StoreSizes::read(|name| self.db.property_int_value(name).ok().flatten())
    }

    /// Puts hard links to the store's files into a directory, which must not exist: the store as it is now, all writes included.
    pub(crate) fn link_into(&self, directory: &Path) -> Result<(), StateError> {
        let linked = Checkpoint::new(&self.db).and_then(|checkpoint| checkpoint.create_checkpoint(directory));
        linked.map_err(|error| self.failed("linking a checkpoint", &error))
    }

    fn family(&self) -> Result<&ColumnFamily, StateError> {
        self.db.cf_handle(FAMILY).ok_or_else(|| faults::damaged(&self.path, "the column family is missing"))
    }

    fn failed(&self, doing: &str, error: &rocksdb::Error) -> StateError {
        faults::failed(&self.path, doing, error)
    }

    fn commit(&self, batch: Batch, sync: bool, doing: &str) -> Result<(), StateError> {
        let mut options = WriteOptions::default();
        options.set_sync(sync);
        self.db.write_opt(batch.into_rocksdb(), &options).map_err(|error| self.failed(doing, &error))?;
        self.follow();
        Ok(())
    }

    fn follow(&self) {
        if let Some(seal) = &self.seal {
            seal.lock().unwrap_or_else(PoisonError::into_inner).follow();
        }
    }
}

/// RocksDB takes a directory without `CURRENT` for a new database and would begin from nothing. A process that died while it made a new one left no cells.
fn refuse_headless(path: &Path) -> Result<(), StateError> {
    let has_cells = has_file(path, |name, length| length > 0 && (name.ends_with(".sst") || name.ends_with(".log")));
    if has_cells && !path.join("CURRENT").exists() {
        return Err(faults::damaged(path, "file `CURRENT` is missing"));
    }
    Ok(())
}

fn has_file(directory: &Path, is_it: impl Fn(&str, u64) -> bool) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| {
        let length = entry.metadata().map_or(0, |metadata| metadata.len());
        entry.file_name().to_str().is_some_and(|name| is_it(name, length))
    })
}

fn meta_key(name: Meta) -> &'static [u8] {
    match name {
        Meta::Applied => b"\xff\xff\xff\xffapplied",
        Meta::Open => b"\xff\xff\xff\xffopen",
        Meta::Restoring => b"\xff\xff\xff\xffrestoring",
    }
}

impl Drop for RocksStore {
    fn drop(&mut self) {
        self.follow();
    }
}

impl StateBackend for RocksStore {
    fn read(&self, keys: &BytesColumn, values: &mut BytesColumn) -> Result<(), StateError> {
        if self.is_empty.load(Ordering::Acquire) {
            (0..keys.len()).for_each(|_| values.push(None));
            return Ok(());
        }
        let family = self.family()?;
        // Neighbours in the store are looked up together.
        let mut order: Vec<(&[u8], u32)> = keys.iter().map(Option::unwrap_or_default).zip(0..).collect();
        order.sort_unstable();
        let mut found: Vec<Option<DBPinnableSlice<'_>>> = Vec::new();
        found.resize_with(order.len(), || None);
        let sorted = order.iter().map(|(key, _)| *key);
        for ((_, row), value) in order.iter().zip(self.db.batched_multi_get_cf(family, sorted, true)) {
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

    fn range(&self, range: CellRange<'_>, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
        let end = range.end.map_or(FACTS.as_slice(), |end| end.min(&FACTS));
        if end <= range.start || self.is_empty.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(range.start);
        options.set_iterate_upper_bound(end);
        let mut cells = self.db.raw_iterator_opt(options);
        if range.descending {
            cells.seek_to_last();
        } else {
            cells.seek_to_first();
        }
        while let Some((key, value)) = cells.item() {
            if !visit(key, value) {
                return Ok(());
            }
            if range.descending {
                cells.prev();
            } else {
                cells.next();
            }
        }
        cells.status().map_err(|error| self.failed("scanning", &error))
    }

    fn write(&self, changes: &[ChangeSet], meta: &[(Meta, Option<&[u8]>)], sync: bool) -> Result<(), StateError> {
        let cells: usize = changes.iter().map(ChangeSet::len).sum();
        let mut batch = Batch::new(changes.iter().map(ChangeSet::bytes_len).sum::<usize>() + cells * 6);
        for changes in changes {
            batch.put_sorted(changes);
        }
        for (name, value) in meta {
            match value {
                Some(value) => batch.put(meta_key(*name), value),
                None => batch.delete(meta_key(*name)),
            }
        }
        if cells > 0 {
            fail::fail_point!("mid_apply");
            self.is_empty.store(false, Ordering::Release);
        }
        self.commit(batch, sync, "writing")
    }

    fn meta(&self, name: Meta) -> Result<Option<Vec<u8>>, StateError> {
        self.db.get(meta_key(name)).map_err(|error| self.failed("reading", &error))
    }

    fn clear(&self) -> Result<(), StateError> {
        let family = self.family()?;
        let mut batch = rocksdb::WriteBatch::default();
        batch.delete_range_cf(family, &[][..], &FACTS[..]);
        for name in [Meta::Applied, Meta::Open, Meta::Restoring] {
            batch.delete(meta_key(name));
        }
        let mut options = WriteOptions::default();
        options.set_sync(true);
        let failed = |error| self.failed("emptying", &error);
        self.db.write_opt(batch, &options).map_err(failed)?;
        // From here on nothing is there; what follows gives the disk back and keeps reads from wading through what was removed.
        self.db.delete_file_in_range_cf(family, &[][..], &FACTS[..]).map_err(failed)?;
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        self.is_empty.store(true, Ordering::Release);
        Ok(())
    }
}
