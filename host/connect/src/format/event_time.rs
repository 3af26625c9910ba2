use super::Pointer;
use chrono::DateTime;
use millstream_engine::ports::EventTime;
use millstream_model::record::RecordBatch;

/// Where the event time of a record is, if it is not the source's own timestamp: a whole number of milliseconds since 1970, or a time as RFC 3339 has it
/// (`2026-11-24T15:00:00.250Z`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTimeAt {
    /// In the last header of this name, as text.
    Header(String),
    /// At a place of the value, which is JSON: a number, or a text with either.
    Pointer(Pointer),
}

impl EventTime for EventTimeAt {
    fn of(&self, batch: &RecordBatch, row: u32) -> Result<i64, String> {
        match self {
            Self::Header(name) => {
                let found = batch.headers.of(row).filter(|(other, _)| *other == name.as_bytes()).last();
                let value = found
                    .and_then(|(_, value)| value)
                    .ok_or_else(|| format!("it has no header `{name}`, where its timestamp should be"))?;
                let text = std::str::from_utf8(value).ok();
                text.and_then(parse)
                    .ok_or_else(|| no_time(&format!("header `{name}`"), &String::from_utf8_lossy(value)))
            }
            Self::Pointer(pointer) => {
                let document = batch.values.get(row).and_then(|value| std::str::from_utf8(value).ok());
                let missing =
                    || format!("its value is not JSON, or has nothing at `{pointer}`, where its timestamp should be");
                let mut bytes = Vec::new();
                let is_there = document.and_then(|document| pointer.bytes(document, &mut bytes)).unwrap_or(false);
                if !is_there {
                    return Err(missing());
                }
                let text = String::from_utf8_lossy(&bytes);
                parse(&text).ok_or_else(|| no_time(&format!("`{pointer}`"), &text))
            }
        }
    }
}

fn parse(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| Some(DateTime::parse_from_rfc3339(text).ok()?.timestamp_millis()))
}

/// Longest text quoted, in characters.
const QUOTED_MAX: usize = 40;

fn no_time(place: &str, text: &str) -> String {
    let quoted: String = text.chars().take(QUOTED_MAX).collect();
    format!("{place} holds `{quoted}`, which is neither milliseconds since 1970 nor a time like `2026-11-24T15:00:00Z`")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use millstream_model::record::Origin;

    fn batch(value: &[u8], headers: &[(&str, &[u8])]) -> RecordBatch {
        let mut batch = RecordBatch::default();
        batch.push(None, Some(value), 5, Origin::default());
        headers.iter().for_each(|(name, value)| batch.headers.push(0, name.as_bytes(), Some(value)));
        batch
    }

    fn header(headers: &[(&str, &[u8])]) -> Result<i64, String> {
        EventTimeAt::Header("at".to_owned()).of(&batch(b"", headers), 0)
    }

    fn pointer(value: &str) -> Result<i64, String> {
        EventTimeAt::Pointer("/event/at".parse().unwrap()).of(&batch(value.as_bytes(), &[]), 0)
    }

    #[test]
    fn milliseconds_and_rfc_3339_are_times() {
        for (text, time_ms) in [
            ("0", 0),
            ("-7", -7),
            ("1700000000123", 1_700_000_000_123),
            ("1970-01-01T00:00:01.5Z", 1_500),
            ("1970-01-01T02:00:00+02:00", 0),
        ] {
            assert_eq!(header(&[("at", text.as_bytes())]), Ok(time_ms), "{text}");
            assert_eq!(pointer(&format!(r#"{{"event":{{"at":"{text}"}}}}"#)), Ok(time_ms), "{text}");
        }
        assert_eq!(pointer(r#"{"event":{"at":1700000000123}}"#), Ok(1_700_000_000_123));
        assert_eq!(header(&[("at", b"1"), ("at", b"2")]), Ok(2), "the last one counts");
    }

    #[test]
    fn what_is_no_time_says_what_was_looked_for_and_what_is_there() {
        assert!(header(&[("other", b"1")]).unwrap_err().contains("no header `at`"));
        assert!(header(&[("at", b"soon")]).unwrap_err().starts_with("header `at` holds `soon`, which is neither"));
        assert!(pointer("plain").unwrap_err().contains("nothing at `/event/at`"));
        assert!(pointer(r#"{"event":{"at":null}}"#).unwrap_err().contains("nothing at `/event/at`"));
        assert!(pointer(r#"{"event":{"at":1.5}}"#).unwrap_err().starts_with("`/event/at` holds `1.5`"));
    }
}
