/// What a store takes, by RocksDB's own estimates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreSizes {
    /// Cells, as RocksDB estimates them: a cell written twice may count twice until files are merged.
    pub cells: u64,
    /// Bytes of the files that are in use.
    pub files_bytes: u64,
    /// Bytes of writes that are not in files yet.
    pub memtables_bytes: u64,
    /// Bytes of blocks held in memory.
    pub cache_bytes: u64,
    /// Bytes of indexes and filters outside of the cache.
    pub readers_bytes: u64,
    /// Bytes that wait to be merged.
    pub pending_bytes: u64,
    /// Whether writes are being slowed down because merging does not keep up.
    pub is_delayed: bool,
}

impl StoreSizes {
    /// Asks by name; what RocksDB does not know is 0.
    pub(crate) fn read(property: impl Fn(&str) -> Option<u64>) -> Self {
        let of = |name: &str| property(&format!("rocksdb.{name}")).unwrap_or_default();
        Self {
            cells: of("estimate-num-keys"),
            files_bytes: of("live-sst-files-size"),
            memtables_bytes: of("cur-size-all-mem-tables"),
            cache_bytes: of("block-cache-usage"),
            readers_bytes: of("estimate-table-readers-mem"),
            pending_bytes: of("estimate-pending-compaction-bytes"),
            is_delayed: of("actual-delayed-write-rate") > 0 || of("is-write-stopped") > 0,
        }
    }

    /// Bytes of memory.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.memtables_bytes + self.cache_bytes + self.readers_bytes
    }
}
