//! How RocksDB is set up: see docs/decisions/0010-rocksdb.md for what was measured.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, DataBlockIndexType, InfoLogger, LogLevel, Options,
};

/// A memtable of this size stays in the processor's cache, where inserting a cell costs a third of what it costs in memory.
const MEMTABLE_BYTES_MAX: u64 = 8 << 20;

/// Below this RocksDB writes a file for every few cells.
const MEMTABLE_BYTES_MIN: u64 = 128 << 10;

/// Memtables at most, the ones that are being written to files included.
const MEMTABLES_MAX: u64 = 16;

/// Memtables that become one file: what was written over in the meantime never reaches the disk.
const MEMTABLES_MERGED: i32 = 8;

/// The least that is of use as a cache of blocks.
const CACHE_BYTES_MIN: u64 = 2 << 20;

/// Files that are kept open; each holds its index and its filter in memory.
const FILES_OPEN_MAX: i32 = 512;

/// How the memory of a store is divided.
struct Shares {
    /// Of one memtable.
    memtable_bytes: u64,
    /// Of blocks read. What is left of the memory is for indexes and filters: 1.3 bytes per cell.
    cache_bytes: u64,
}

impl Shares {
    fn of(memory_bytes: u64) -> Self {
        let memtable_bytes = (memory_bytes / 2 / MEMTABLES_MAX).clamp(MEMTABLE_BYTES_MIN, MEMTABLE_BYTES_MAX);
        let rest = memory_bytes.saturating_sub(memtable_bytes * MEMTABLES_MAX);
        Self { memtable_bytes, cache_bytes: (rest / 4 * 3).max(CACHE_BYTES_MIN) }
    }
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Options of the whole database. With `has_log` each piece of RocksDB's log must follow upon the one before it.
pub(crate) fn database(memory_bytes: u64, has_log: bool) -> Result<Options, rocksdb::Error> {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_max_background_jobs(2);
    // A torn tail of the log is what a crash leaves; anything else is damage and must not be passed over.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_keep_log_file_num(4);
    options.set_max_open_files(FILES_OPEN_MAX);
    options.set_max_total_wal_size(memory_bytes.max(64 << 20));
    // The crate has no method for this one. Without a log at all, as after the restore of a checkpoint, RocksDB would refuse to open.
    options.get_options_from_string(if has_log { "track_and_verify_wals=true" } else { "track_and_verify_wals=false" })
}

/// Options of a database that is only looked at: everything it needs is open before the process that writes can remove it, and nothing is written beside it.
pub(crate) fn read_only() -> Options {
    let mut options = Options::default();
    options.set_max_open_files(-1);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Fatal, |_, _| {}));
    options
}

/// Options of the one column family.
pub(crate) fn cells(memory_bytes: u64) -> Options {
    let shares = Shares::of(memory_bytes);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(size(shares.cache_bytes)));
    table.set_block_size(8 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    // In the cache a file's one large filter block would be thrown out and read again for every batch of new keys.
    table.set_cache_index_and_filter_blocks(false);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_format_version(5);
    let mut cells = Options::default();
    cells.set_block_based_table_factory(&table);
    // What is rewritten soon is not worth compressing.
    cells.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::None, DBCompressionType::Lz4]);
    cells.set_write_buffer_size(size(shares.memtable_bytes));
    cells.set_max_write_buffer_number(MEMTABLES_MAX as i32);
    cells.set_min_write_buffer_number_to_merge(MEMTABLES_MERGED);
    cells.set_level_compaction_dynamic_level_bytes(true);
    cells
}
