//! How RocksDB is set up: see docs/decisions/0010-rocksdb.md for what was measured.

use rocksdb::{
    BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, DataBlockIndexType, InfoLogger, LogLevel, Options,
};

/// Of the memory, this share is for writes that are not in files yet; the rest is for blocks.
const BUFFERS_SHARE: (u64, u64) = (1, 2);

/// Below this RocksDB writes a file for every few cells.
const BUFFERS_BYTES_MIN: usize = 4 << 20;

fn share(memory_bytes: u64, (of, all): (u64, u64)) -> usize {
    usize::try_from(memory_bytes / all * of).unwrap_or(usize::MAX).max(BUFFERS_BYTES_MIN)
}

/// Options of the whole database. With `has_log` each piece of RocksDB's log must follow upon the one before it.
pub(crate) fn database(memory_bytes: u64, has_log: bool) -> Result<Options, rocksdb::Error> {
    let mut options = plain(memory_bytes);
    // The crate has no method for this one. Without a log at all, as after the restore of a checkpoint, RocksDB would refuse to open.
    options.get_options_from_string(if has_log { "track_and_verify_wals=true" } else { "track_and_verify_wals=false" })
}

fn plain(memory_bytes: u64) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_max_background_jobs(2);
    // A torn tail of the log is what a crash leaves; anything else is damage and must not be passed over.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_keep_log_file_num(4);
    options.set_max_open_files(512);
    options.set_max_total_wal_size(memory_bytes.max(64 << 20));
    options
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
    let buffers_bytes = share(memory_bytes, BUFFERS_SHARE);
    let cache_bytes = usize::try_from(memory_bytes).unwrap_or(usize::MAX).saturating_sub(buffers_bytes);
    let cache = Cache::new_lru_cache(cache_bytes.max(BUFFERS_BYTES_MIN));
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_block_size(16 << 10);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_format_version(5);
    let mut cells = Options::default();
    cells.set_block_based_table_factory(&table);
    cells.set_compression_per_level(&[DBCompressionType::None, DBCompressionType::None, DBCompressionType::Lz4]);
    cells.set_write_buffer_size((buffers_bytes / 3).clamp(2 << 20, 64 << 20));
    cells.set_max_write_buffer_number(3);
    cells.set_level_compaction_dynamic_level_bytes(true);
    cells
}
