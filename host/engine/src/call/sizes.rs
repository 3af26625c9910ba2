use crate::ports::{LogError, RecordSizes, RecordSizesReader};
use millstream_model::ids::SinkIndex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The largest records that sinks and changelog take, in bytes of key, value and headers, as last heard: somebody may change a topic's settings while the
/// pipeline runs. Shared by all workers.
#[derive(Debug)]
pub struct SizeLimits {
    sinks: Vec<AtomicUsize>,
    changelog: AtomicUsize,
}

impl Default for SizeLimits {
    /// No limits.
    fn default() -> Self {
        Self::new(&RecordSizes::any(0))
    }
}

impl SizeLimits {
    /// Limits to begin with.
    #[must_use]
    pub fn new(sizes: &RecordSizes) -> Self {
        Self {
            sinks: sizes.sinks.iter().map(|bytes| AtomicUsize::new(*bytes)).collect(),
            changelog: AtomicUsize::new(sizes.changelog),
        }
    }

    /// Of a sink.
    #[must_use]
    pub fn of_sink(&self, sink: SinkIndex) -> usize {
        self.sinks.get(sink.at()).map_or(usize::MAX, |bytes| bytes.load(Ordering::Relaxed))
    }

    /// Of the tightest of some sinks.
    #[must_use]
    pub fn of_sinks(&self, sinks: &[SinkIndex]) -> usize {
        sinks.iter().map(|sink| self.of_sink(*sink)).min().unwrap_or(usize::MAX)
    }

    /// Of a cell: key and value.
    #[must_use]
    pub fn of_changelog(&self) -> usize {
        self.changelog.load(Ordering::Relaxed)
    }

    /// Asks anew. What cannot be found out stays as it was.
    ///
    /// # Errors
    /// When it cannot be found out.
    pub fn refresh(&self, reader: &dyn RecordSizesReader) -> Result<(), LogError> {
        let now = reader.read()?;
        for (bytes, now) in self.sinks.iter().zip(&now.sinks) {
            bytes.store(*now, Ordering::Relaxed);
        }
        self.changelog.store(now.changelog, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_tightest_sink_decides_and_a_limit_may_change() {
        let limits = SizeLimits::new(&RecordSizes { sinks: vec![100, 50, usize::MAX], changelog: 70 });
        let sinks = [SinkIndex(0), SinkIndex(1), SinkIndex(2)];
        assert_eq!((limits.of_sinks(&sinks), limits.of_sinks(&[]), limits.of_changelog()), (50, usize::MAX, 70));
        limits.refresh(&RecordSizes { sinks: vec![20, 50, 60], changelog: 10 }).unwrap();
        assert_eq!((limits.of_sinks(&sinks), limits.of_sink(SinkIndex(2)), limits.of_changelog()), (20, 60, 10));
        assert_eq!(SizeLimits::default().of_sink(SinkIndex(7)), usize::MAX);
    }
}
