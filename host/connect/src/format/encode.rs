use super::SinkFormat;
use crate::Error;
use millstream_model::record::RecordBatch;

/// Appends all records of a batch, a line each. Writes nothing if one is refused.
pub(crate) fn encode(format: SinkFormat, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), Error> {
    if format == SinkFormat::Lines {
        // One look at all values: hardly ever is there a newline.
        if batch.values.bytes().contains(&b'\n') {
            let row = batch.values.iter().position(|value| value.is_some_and(|value| value.contains(&b'\n')));
            let origin = row.and_then(|row| batch.origins.get(row)).copied().unwrap_or_default();
            return Err(Error::Newline { offset: origin.offset });
        }
        for value in batch.values.iter() {
            out.extend_from_slice(value.unwrap_or_default());
            out.push(b'\n');
        }
        return Ok(());
    }
    let rows = 0..batch.len() as u32;
    for ((row, &timestamp_ms), (key, value)) in
        rows.zip(&batch.timestamps_ms).zip(batch.keys.iter().zip(batch.values.iter()))
    {
        out.extend_from_slice(b"{\"key\":");
        bytes(out, key);
        out.extend_from_slice(b",\"value\":");
        bytes(out, value);
        out.extend_from_slice(b",\"timestamp\":");
        number(out, timestamp_ms);
        if !batch.headers.is_empty() {
            headers(out, batch, row);
        }
        out.extend_from_slice(b"}\n");
    }
    Ok(())
}

fn headers(out: &mut Vec<u8>, batch: &RecordBatch, row: u32) {
    let mut before: &[u8] = b",\"headers\":[[";
    for (name, value) in batch.headers.of(row) {
        out.extend_from_slice(before);
        bytes(out, Some(name));
        out.push(b',');
        bytes(out, value);
        before = b"],[";
    }
    if before == b"],[" {
        out.extend_from_slice(b"]]");
    }
}

fn bytes(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value.map(|value| (value, std::str::from_utf8(value))) {
        None => out.extend_from_slice(b"null"),
        Some((_, Ok(text))) => string(out, text),
        Some((value, Err(_))) => base64(out, value),
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        let (plain, escaped) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((&byte, after)) = escaped.split_first() else { break };
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend(
                    [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' + digit - 10 }),
                );
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// RFC 4648, section 4, with padding.
fn base64(out: &mut Vec<u8>, value: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.extend_from_slice(b"{\"base64\":\"");
    for three in value.chunks(3) {
        let bits = three.iter().zip([16, 8, 0]).fold(0u32, |bits, (&byte, shift)| bits | u32::from(byte) << shift);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = DIGITS.get((bits >> shift & 63) as usize).copied().unwrap_or(b'=');
            out.push(if at <= three.len() { digit } else { b'=' });
        }
    }
    out.extend_from_slice(b"\"}");
}

fn number(out: &mut Vec<u8>, value: i64) {
    use std::io::Write;
    // Writing into memory does not fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use super::*;
    use millstream_model::record::Origin;
    use proptest::prelude::*;
    use serde_json::Value;

    type Row<'a> = (Option<&'a [u8]>, Option<&'a [u8]>);

    fn batch(rows: &[Row<'_>]) -> RecordBatch {
        let mut batch = RecordBatch::default();
        for (at, &(key, value)) in rows.iter().enumerate() {
            batch.push(key, value, 1_000 + at as i64, Origin { offset: at as i64 * 10, ..Origin::default() });
        }
        batch
    }

    fn text(format: SinkFormat, batch: &RecordBatch) -> String {
        let mut out = Vec::new();
        encode(format, batch, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn lines_are_values_and_newlines() {
        let batch =
            batch(&[(Some(b"k"), Some(b"one")), (None, None), (None, Some(b"")), (None, Some("zwölf\r".as_bytes()))]);
        assert_eq!(text(SinkFormat::Lines, &batch), "one\n\n\nzwölf\r\n");
    }

    #[test]
    fn a_newline_in_a_line_is_refused_by_its_offset() {
        let mut out = b"before".to_vec();
        let batch = batch(&[(None, Some(b"one")), (None, Some(b"two\nthree"))]);
        let error = encode(SinkFormat::Lines, &batch, &mut out).unwrap_err();
        assert!(matches!(error, Error::Newline { offset: 10 }), "{error}");
        assert_eq!(out, b"before");
    }

    #[test]
    fn json_lines_tell_null_empty_text_and_bytes_apart() {
        let mut batch =
            batch(&[(None, None), (Some(b""), Some(b"a \"b\"\n\x01\\")), (Some(b"\xff\xfe"), Some(b"\xff"))]);
        batch.headers.push(1, b"h", None);
        batch.headers.push(1, b"h", Some(b"\x80\x80\x80"));
        let expected = concat!(
            r#"{"key":null,"value":null,"timestamp":1000}"#,
            "\n",
            r#"{"key":"","value":"a \"b\"\n\u0001\\","timestamp":1001,"headers":[["h",null],["h",{"base64":"gICA"}]]}"#,
            "\n",
            r#"{"key":{"base64":"//4="},"value":{"base64":"/w=="},"timestamp":1002}"#,
            "\n",
        );
        assert_eq!(text(SinkFormat::JsonLines, &batch), expected);
    }

    proptest! {
        #[test]
        fn any_text_comes_back_from_json(texts in prop::collection::vec(any::<String>(), 1..5), timestamp in any::<i64>()) {
            let mut batch = RecordBatch::default();
            for value in &texts {
                batch.push(Some(value.as_bytes()), Some(value.as_bytes()), timestamp, Origin::default());
            }
            let written = text(SinkFormat::JsonLines, &batch);
            let lines: Vec<Value> = written.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            prop_assert_eq!(lines.len(), texts.len());
            for (line, value) in lines.iter().zip(&texts) {
                prop_assert_eq!(line["value"].as_str(), Some(value.as_str()));
                prop_assert_eq!(line["timestamp"].as_i64(), Some(timestamp));
            }
        }

        #[test]
        fn base64_is_that_of_the_standard(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut out = Vec::new();
            base64(&mut out, &bytes);
            let text: Value = serde_json::from_slice(&out).unwrap();
            prop_assert_eq!(decode(text["base64"].as_str().unwrap()), bytes);
        }
    }

    fn decode(text: &str) -> Vec<u8> {
        assert_eq!(text.len() % 4, 0, "{text}");
        let digit = |byte: u8| match byte {
            b'A'..=b'Z' => u32::from(byte - b'A'),
            b'a'..=b'z' => u32::from(byte - b'a') + 26,
            b'0'..=b'9' => u32::from(byte - b'0') + 52,
            b'+' => 62,
            b'/' => 63,
            _ => 0,
        };
        let padding = text.bytes().filter(|&byte| byte == b'=').count();
        let mut bytes = Vec::new();
        for four in text.as_bytes().chunks(4) {
            let bits = four.iter().fold(0, |bits, &byte| bits << 6 | digit(byte));
            bytes.extend_from_slice(&bits.to_be_bytes()[1..]);
        }
        bytes.truncate(bytes.len() - padding);
        bytes
    }
}
