use millstream_model::column::HEADER_FRAME_BYTES;
use millstream_model::ids::Digest;
use millstream_model::record::RecordBatch;

/// Where a refused record came from and who refused it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance<'a> {
    /// Id of the source.
    pub source: &'a str,
    /// The topic that the source reads; empty if it reads none.
    pub topic: &'a str,
    /// Number of the partition within the source.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// The timer it was, if it was one: name, id and time in milliseconds since 1970.
    pub timer: Option<(&'a str, u64, i64)>,
    /// Id of the operator and digest of its module; none if a source refused it, or a sink was too small for a record that met no operator.
    pub operator: Option<(&'a str, Digest)>,
}

/// A refused record on its way to the dead-letter sink.
#[derive(Debug, Clone, Copy)]
pub struct DeadLetter<'a> {
    /// The batch it was in.
    pub batch: &'a RecordBatch,
    /// Its row.
    pub row: u32,
    /// Why it was refused, and what the guest said last.
    pub reason: &'a str,
}

/// Room for what every letter says of its record, and for the notes on what was dropped, in bytes: ids have at most 100 bytes, a topic 249.
pub const LETTER_BYTES_MIN: usize = 2 << 10;

/// A reason is kept up to here, in bytes; a backtrace is part of it.
const REASON_BYTES_MAX: usize = 4 << 10;

/// A reason that is in the way of the record is kept up to here, in bytes.
const REASON_BYTES_SHORT: usize = 256;

/// What of a record and its refusal is in a letter, from all to what must be.
#[derive(Debug, Clone, Copy)]
struct Kept {
    value: bool,
    headers: bool,
    key: bool,
    /// The whole reason.
    reason: bool,
}

const KEPT: [Kept; 6] = [
    Kept { value: true, headers: true, key: true, reason: true },
    Kept { value: true, headers: true, key: true, reason: false },
    Kept { value: false, headers: true, key: true, reason: true },
    Kept { value: false, headers: true, key: true, reason: false },
    Kept { value: false, headers: false, key: true, reason: false },
    Kept { value: false, headers: false, key: false, reason: false },
];

type Fact = (&'static str, String);

impl Provenance<'_> {
    /// Which record, or which timer, it was.
    fn place(&self) -> Vec<Fact> {
        if let Some((name, id, time_ms)) = self.timer {
            return vec![
                ("millstream-timer", name.to_owned()),
                ("millstream-timer-id", id.to_string()),
                ("millstream-timer-time", time_ms.to_string()),
            ];
        }
        let mut facts = vec![("millstream-source", self.source.to_owned())];
        if !self.topic.is_empty() {
            facts.push(("millstream-topic", self.topic.to_owned()));
        }
        facts.push(("millstream-partition", self.partition.to_string()));
        facts.push(("millstream-offset", self.offset.to_string()));
        facts
    }
}

impl DeadLetter<'_> {
    /// Appends the record with its key, value and headers, and headers `millstream-*` that say where it comes from and why it is here.
    /// One that is larger than `record_bytes_max` loses most of its reason, then its value, its headers and its key, and says so. False: not even what is left
    /// fits, and nothing was appended; [`LETTER_BYTES_MIN`] always do.
    #[must_use]
    pub fn append_to(&self, provenance: &Provenance<'_>, record_bytes_max: usize, letters: &mut RecordBatch) -> bool {
        let fitting = KEPT.into_iter().map(|kept| (kept, self.facts(provenance, kept)));
        let fitting = fitting.into_iter().find(|(kept, facts)| self.bytes(*kept, facts) <= record_bytes_max);
        let Some((kept, facts)) = fitting else { return false };
        let (batch, row) = (self.batch, self.row);
        let origin = batch.origins.get(row as usize).copied().unwrap_or_default();
        let timestamp_ms = batch.timestamps_ms.get(row as usize).copied().unwrap_or_default();
        let at = letters.len() as u32;
        let (key, value) = (batch.keys.get(row), batch.values.get(row));
        letters.push(key.filter(|_| kept.key), value.filter(|_| kept.value), timestamp_ms, origin);
        if kept.headers {
            for (name, value) in batch.headers.of(row) {
                letters.headers.push(at, name, value);
            }
        }
        for (name, value) in &facts {
            letters.headers.push(at, name.as_bytes(), Some(value.as_bytes()));
        }
        true
    }

    fn bytes(&self, kept: Kept, facts: &[Fact]) -> usize {
        let (batch, row) = (self.batch, self.row);
        let facts: usize = facts.iter().map(|(name, value)| HEADER_FRAME_BYTES + name.len() + value.len()).sum();
        let key = if kept.key { batch.keys.value_len(row) } else { 0 };
        let value = if kept.value { batch.values.value_len(row) } else { 0 };
        let headers = if kept.headers { batch.headers.framed_bytes_of(row) } else { 0 };
        facts + key + value + headers
    }

    fn facts(&self, provenance: &Provenance<'_>, kept: Kept) -> Vec<Fact> {
        let mut facts = provenance.place();
        if let Some((operator, digest)) = provenance.operator {
            facts.push(("millstream-operator", operator.to_owned()));
            facts.push(("millstream-digest", digest.to_string()));
        }
        let reason_bytes = if kept.reason { REASON_BYTES_MAX } else { REASON_BYTES_SHORT };
        facts.push(("millstream-reason", head(self.reason, reason_bytes)));
        let (batch, row) = (self.batch, self.row);
        if !kept.value && batch.values.get(row).is_some() {
            facts.push(("millstream-value-dropped", batch.values.value_len(row).to_string()));
        }
        if !kept.headers && batch.headers.of(row).next().is_some() {
            facts.push(("millstream-headers-dropped", batch.headers.bytes_of(row).to_string()));
        }
        if !kept.key && batch.keys.get(row).is_some() {
            facts.push(("millstream-key-dropped", batch.keys.value_len(row).to_string()));
        }
        facts
    }
}

/// The beginning of a text, with a note if that is not all of it.
fn head(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(bytes_max);
    format!("{}… (cut, it has {} bytes)", text.get(..end).unwrap_or_default(), text.len())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_model::record::Origin;

    const REASON: &str = "trapped";

    fn record(key: usize, value: usize) -> RecordBatch {
        let mut batch = RecordBatch::default();
        batch.push(Some(&vec![b'k'; key]), Some(&vec![7; value]), 5, Origin::default());
        batch.headers.push(0, b"trace", Some(b"abc"));
        batch.headers.push(0, b"trace", None);
        batch
    }

    fn letter(batch: &RecordBatch, reason: &str, record_bytes_max: usize) -> Option<RecordBatch> {
        let digest = Digest::default();
        let operator = Some(("split", digest));
        let provenance =
            Provenance { source: "lines", topic: "orders", partition: 3, offset: 42, timer: None, operator };
        let mut letters = RecordBatch::default();
        let fits = DeadLetter { batch, row: 0, reason }.append_to(&provenance, record_bytes_max, &mut letters);
        assert_eq!(letters.len(), usize::from(fits));
        fits.then(|| {
            let bytes = letters.framed_bytes(0);
            assert!(bytes <= record_bytes_max, "{bytes} of {record_bytes_max}");
            letters
        })
    }

    fn header(batch: &RecordBatch, name: &str) -> Option<String> {
        let value = batch.headers.of(0).find(|(n, _)| *n == name.as_bytes())?.1;
        Some(String::from_utf8(value.unwrap_or_default().to_vec()).unwrap())
    }

    #[test]
    fn a_dead_letter_keeps_the_record_and_tells_where_it_came_from() {
        let letters = letter(&record(1, 1_000), REASON, 10_000).unwrap();
        assert_eq!(letters.keys.get(0), Some(b"k".as_slice()));
        assert_eq!(letters.values.get(0), Some([7; 1_000].as_slice()));
        assert_eq!(letters.headers.of(0).filter(|(name, _)| *name == b"trace").count(), 2);
        let said = ["source", "topic", "partition", "offset", "operator", "reason"];
        let said = said.map(|name| header(&letters, &format!("millstream-{name}")).unwrap());
        assert_eq!(said, ["lines", "orders", "3", "42", "split", "trapped"]);
        for dropped in ["value", "headers", "key"] {
            assert_eq!(header(&letters, &format!("millstream-{dropped}-dropped")), None);
        }
    }

    #[test]
    fn a_record_that_met_no_operator_names_none() {
        let batch = record(1, 1);
        let provenance =
            Provenance { source: "lines", topic: "", partition: 0, offset: 1, timer: None, operator: None };
        let mut letters = RecordBatch::default();
        assert!(DeadLetter { batch: &batch, row: 0, reason: REASON }.append_to(&provenance, 10_000, &mut letters));
        for absent in ["millstream-operator", "millstream-digest", "millstream-topic"] {
            assert_eq!(header(&letters, absent), None);
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_in_the_order_of_its_worth_and_noted() {
        let fits = |value: usize, max: usize| {
            let letters = letter(&record(600, value), REASON, max).unwrap();
            let dropped =
                ["value", "headers", "key"].map(|what| header(&letters, &format!("millstream-{what}-dropped")));
            (letters.values.get(0).is_some(), letters.keys.get(0).is_some(), dropped)
        };
        assert_eq!(fits(1_000, 2_500), (true, true, [None, None, None]));
        let dropped = |bytes: &str| Some(bytes.to_owned());
        assert_eq!(fits(3_000, 2_500), (false, true, [dropped("3000"), None, None]));
        let mut large = record(600, 3_000);
        large.headers.push(0, b"large", Some(&[1; 2_000]));
        let letters = letter(&large, REASON, 1_500).unwrap();
        assert_eq!(header(&letters, "millstream-headers-dropped"), dropped("2018"));
        assert_eq!(letters.keys.value_len(0), 600);
        let letters = letter(&large, REASON, 600).unwrap();
        assert_eq!((letters.keys.get(0), letters.values.get(0)), (None, None));
        assert_eq!(header(&letters, "millstream-key-dropped"), dropped("600"));
    }

    #[test]
    fn a_long_reason_gives_way_to_the_record_and_never_makes_a_letter_too_large() {
        let backtrace = format!("trapped: é{}", "at frame\n".repeat(10_000));
        let letters = letter(&record(1, 1_000), &backtrace, 1 << 20).unwrap();
        let reason = header(&letters, "millstream-reason").unwrap();
        assert!(reason.ends_with("… (cut, it has 90011 bytes)") && reason.len() < REASON_BYTES_MAX + 50, "{reason}");
        let letters = letter(&record(1, 1_000), &backtrace, 2_000).unwrap();
        assert!(letters.values.get(0).is_some(), "the record is worth more than its backtrace");
        assert!(header(&letters, "millstream-reason").unwrap().len() < REASON_BYTES_SHORT + 50);
    }

    #[test]
    fn the_least_that_a_topic_must_take_is_enough_for_any_letter() {
        let long = "i".repeat(100);
        let topic = "t".repeat(249);
        let reason = "r".repeat(1 << 20);
        let mut batch = record(1 << 20, 1 << 20);
        batch.headers.push(0, b"large", Some(&[1; 1 << 20]));
        let operator = Some((long.as_str(), Digest([0xff; 32])));
        let provenance =
            Provenance { source: &long, topic: &topic, partition: i32::MIN, offset: i64::MIN, timer: None, operator };
        let letter = DeadLetter { batch: &batch, row: 0, reason: &reason };
        let mut letters = RecordBatch::default();
        assert!(letter.append_to(&provenance, LETTER_BYTES_MIN, &mut letters));
        assert!(!letter.append_to(&provenance, 500, &mut letters));
        assert_eq!(letters.len(), 1, "what does not fit leaves nothing");
    }
}
