use millstream_model::ids::Digest;
use millstream_model::record::RecordBatch;

/// Where a refused record came from and who refused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// Id of the source.
    pub source: &'a str,
    /// Number of the partition within the source.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// The timer it was, if it was one: name, id and time in milliseconds since 1970.
    pub timer: Option<(&'a str, u64, i64)>,
    /// Id of the operator that refused it, and its module; none if the source did.
    pub operator: Option<(&'a str, Digest)>,
}

/// A refused record on its way to the dead-letter sink.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// The batch it was in.
    pub batch: &'a RecordBatch,
    /// Its row.
    pub row: u32,
    /// Why it was refused.
    pub reason: &'a str,
}

impl Provenance<'_> {
    /// Names and values of the headers that tell it.
    fn facts(&self, reason: &str) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("millstream-source", self.source.to_owned()),
            ("millstream-partition", self.partition.to_string()),
            ("millstream-offset", self.offset.to_string()),
        ];
        if let Some((name, id, time_ms)) = self.timer {
            facts.clear();
            facts.extend([
                ("millstream-timer", name.to_owned()),
                ("millstream-timer-id", id.to_string()),
                ("millstream-timer-time", time_ms.to_string()),
            ]);
        }
        if let Some((operator, digest)) = self.operator {
            facts.extend([("millstream-operator", operator.to_owned()), ("millstream-digest", digest.to_string())]);
        }
        facts.push(("millstream-reason", reason.to_owned()));
        facts
    }
}

impl DeadLetter<'_> {
    /// Appends the record with its key, value and headers, and headers `millstream-*` that say where it comes from and why it is here.
    /// One that is larger than `record_bytes_max` loses its value, then its headers, and says so.
    pub fn append_to(&self, provenance: &Provenance<'_>, record_bytes_max: usize, letters: &mut RecordBatch) {
        let (batch, row) = (self.batch, self.row);
        let origin = batch.origins.get(row as usize).copied().unwrap_or_default();
        let timestamp_ms = batch.timestamps_ms.get(row as usize).copied().unwrap_or_default();
        let facts = provenance.facts(self.reason);
        let own: usize = facts.iter().map(|(name, value)| name.len() + value.len()).sum();
        let value_bytes = batch.values.value_len(row);
        let header_bytes = batch.headers.bytes_of(row);
        let key = batch.keys.get(row);
        let rest = own + key.map_or(0, <[u8]>::len) + DROP_NOTE_BYTES;
        let keep_value = rest + value_bytes + header_bytes <= record_bytes_max;
        let keep_headers = keep_value || rest + header_bytes <= record_bytes_max;
        let at = letters.len() as u32;
        letters.push(key, batch.values.get(row).filter(|_| keep_value), timestamp_ms, origin);
        if keep_headers {
            for (name, value) in batch.headers.of(row) {
                letters.headers.push(at, name, value);
            }
        }
        for (name, value) in facts {
            letters.headers.push(at, name.as_bytes(), Some(value.as_bytes()));
        }
        if !keep_value {
            letters.headers.push(at, b"millstream-value-dropped", Some(value_bytes.to_string().as_bytes()));
        }
        if !keep_headers {
            letters.headers.push(at, b"millstream-headers-dropped", Some(header_bytes.to_string().as_bytes()));
        }
    }
}

/// Room for the two notes on what was dropped.
const DROP_NOTE_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_model::record::Origin;

    fn letter(record_bytes_max: usize) -> RecordBatch {
        let mut batch = RecordBatch::default();
        batch.push(Some(b"k"), Some(&[7; 1_000]), 5, Origin::default());
        batch.headers.push(0, b"trace", Some(b"abc"));
        batch.headers.push(0, b"trace", None);
        let provenance =
            Provenance { source: "lines", partition: 3, offset: 42, timer: None, operator: Some(("split", Digest::default())) };
        let mut letters = RecordBatch::default();
        DeadLetter { batch: &batch, row: 0, reason: "trapped" }.append_to(&provenance, record_bytes_max, &mut letters);
        letters
    }

    fn header(batch: &RecordBatch, name: &str) -> Option<String> {
        let value = batch.headers.of(0).find(|(n, _)| *n == name.as_bytes())?.1;
        Some(String::from_utf8(value.unwrap_or_default().to_vec()).unwrap())
    }

    #[test]
    fn a_dead_letter_keeps_the_record_and_tells_where_it_came_from() {
        let letters = letter(10_000);
        assert_eq!(letters.keys.get(0), Some(b"k".as_slice()));
        assert_eq!(letters.values.get(0), Some([7; 1_000].as_slice()));
        assert_eq!(letters.headers.of(0).filter(|(name, _)| *name == b"trace").count(), 2);
        assert_eq!(header(&letters, "millstream-offset").as_deref(), Some("42"));
        assert_eq!(header(&letters, "millstream-operator").as_deref(), Some("split"));
        assert_eq!(header(&letters, "millstream-value-dropped"), None);
    }

    #[test]
    fn one_that_does_not_fit_drops_its_value_and_says_so() {
        let letters = letter(600);
        assert_eq!(letters.values.get(0), None);
        assert_eq!(header(&letters, "millstream-value-dropped").as_deref(), Some("1000"));
        assert_eq!(header(&letters, "trace").as_deref(), Some("abc"));
    }
}
