//! How RocksDB is set up: see docs/decisions/0010-rocksdb.md for what was measured.

use rocksdb::{BlockBasedOptions, Cache, DBCompressionType, DBRecoveryMode, DataBlockIndexType, Options};

/// Options of the column families.
pub(crate) struct Families {
    pub(crate) cells: Options,
    pub(crate) meta: Options,
}

/// Half of the memory is for memtables, half for blocks.
fn buffers_bytes(memory_bytes: u64) -> usize {
    usize::try_from(memory_bytes / 2).unwrap_or(usize::MAX).max(4 << 20)
}

pub(crate) fn database(memory_bytes: u64) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_db_write_buffer_size(buffers_bytes(memory_bytes));
    options.set_max_background_jobs(2);
    // A torn tail of the log is what a crash leaves; anything else is damage and must not be passed over.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_keep_log_file_num(4);
    options.set_max_open_files(512);
    options.set_max_total_wal_size(memory_bytes.max(64 << 20));
    options
}

pub(crate) fn families(memory_bytes: u64) -> Families {
    let buffers_bytes = buffers_bytes(memory_bytes);
    let cache = Cache::new_lru_cache(usize::try_from(memory_bytes / 2).unwrap_or(usize::MAX).max(4 << 20));
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
    let mut meta = Options::default();
    meta.set_write_buffer_size(1 << 20);
    Families { cells, meta }
}
