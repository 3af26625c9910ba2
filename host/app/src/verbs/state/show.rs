//! Bytes of state as people and machines read them: by the codec that the state names, else as text, else as base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// Bytes under a codec of the contract's properties; what does not decode is shown as bytes.
pub(super) fn shown(codec: Option<&str>, bytes: &[u8]) -> Value {
    codec.and_then(|codec| decoded(codec, bytes)).unwrap_or_else(|| plain(bytes))
}

/// Text where it is text, else `{"base64": …}`.
pub(super) fn plain(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => json!({ "base64": STANDARD.encode(bytes) }),
    }
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn decoded(codec: &str, bytes: &[u8]) -> Option<Value> {
    // Numbers beyond 64 bits are text: JSON's readers would round them.
    Some(match codec {
        "text" => Value::String(std::str::from_utf8(bytes).ok()?.to_owned()),
        "json" => serde_json::from_slice(bytes).ok()?,
        "unit" if bytes.is_empty() => Value::Null,
        "bool" => Value::Bool(matches!(array(bytes)?, [1])),
        "u8" => u8::from_be_bytes(array(bytes)?).into(),
        "u16" => u16::from_be_bytes(array(bytes)?).into(),
        "u32" => u32::from_be_bytes(array(bytes)?).into(),
        "u64" => u64::from_be_bytes(array(bytes)?).into(),
        "u128" => u128::from_be_bytes(array(bytes)?).to_string().into(),
        "i8" => i8::from_be_bytes(array(bytes)?).into(),
        "i16" => i16::from_be_bytes(array(bytes)?).into(),
        "i32" => i32::from_be_bytes(array(bytes)?).into(),
        "i64" => i64::from_be_bytes(array(bytes)?).into(),
        "i128" => i128::from_be_bytes(array(bytes)?).to_string().into(),
        "f32" => f64::from(f32::from_be_bytes(array(bytes)?)).into(),
        "f64" => f64::from_be_bytes(array(bytes)?).into(),
        "ordered-i8" => (i8::from_be_bytes(array(bytes)?) ^ i8::MIN).into(),
        "ordered-i16" => (i16::from_be_bytes(array(bytes)?) ^ i16::MIN).into(),
        "ordered-i32" => (i32::from_be_bytes(array(bytes)?) ^ i32::MIN).into(),
        "ordered-i64" => (i64::from_be_bytes(array(bytes)?) ^ i64::MIN).into(),
        "ordered-i128" => (i128::from_be_bytes(array(bytes)?) ^ i128::MIN).to_string().into(),
        _ => return None,
    })
}

/// The bytes of a key as it is typed: `base64:…` for bytes, a number where the codec is one, else the text itself.
pub(super) fn typed(codec: Option<&str>, text: &str) -> Result<Vec<u8>, String> {
    if let Some(encoded) = text.strip_prefix("base64:") {
        return STANDARD.decode(encoded).map_err(|error| format!("`{text}` is no base64: {error}"));
    }
    let number = |codec: &str| -> Option<Vec<u8>> {
        Some(match codec {
            "u8" => text.parse::<u8>().ok()?.to_be_bytes().to_vec(),
            "u16" => text.parse::<u16>().ok()?.to_be_bytes().to_vec(),
            "u32" => text.parse::<u32>().ok()?.to_be_bytes().to_vec(),
            "u64" => text.parse::<u64>().ok()?.to_be_bytes().to_vec(),
            "u128" => text.parse::<u128>().ok()?.to_be_bytes().to_vec(),
            "ordered-i8" => (text.parse::<i8>().ok()? ^ i8::MIN).to_be_bytes().to_vec(),
            "ordered-i16" => (text.parse::<i16>().ok()? ^ i16::MIN).to_be_bytes().to_vec(),
            "ordered-i32" => (text.parse::<i32>().ok()? ^ i32::MIN).to_be_bytes().to_vec(),
            "ordered-i64" => (text.parse::<i64>().ok()? ^ i64::MIN).to_be_bytes().to_vec(),
            "ordered-i128" => (text.parse::<i128>().ok()? ^ i128::MIN).to_be_bytes().to_vec(),
            "bool" => vec![u8::from(text.parse::<bool>().ok()?)],
            _ => return None,
        })
    };
    match codec {
        Some("bytes" | "text" | "json" | "unit") | None => Ok(text.as_bytes().to_vec()),
        Some(codec) => number(codec).ok_or_else(|| format!("`{text}` is no {codec}: `base64:…` stands for bytes")),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn bytes_are_shown_by_their_codec_or_as_they_are() {
        assert_eq!(shown(Some("u64"), &[0, 0, 0, 0, 0, 0, 1, 2]), json!(258));
        assert_eq!(shown(Some("u64"), &[1]), json!("\u{1}"), "what does not decode");
        assert_eq!(shown(Some("ordered-i16"), &[0x7f, 0xff]), json!(-1));
        assert_eq!(shown(Some("i128"), &[0xff; 16]), json!("-1"));
        assert_eq!(shown(Some("json"), b"{\"a\":[1]}"), json!({ "a": [1] }));
        assert_eq!(shown(Some("unit"), b""), Value::Null);
        assert_eq!(shown(Some("postcard"), b"\xff\x00"), json!({ "base64": "/wA=" }));
        assert_eq!(shown(None, b"text"), json!("text"));
        assert_eq!(shown(Some("f64"), &1.5f64.to_be_bytes()), json!(1.5));
    }

    #[test]
    fn keys_are_typed_as_they_are_shown() {
        for (codec, text) in [("u32", "7"), ("ordered-i64", "-7"), ("bool", "true"), ("text", "seven"), ("u128", "9")] {
            let bytes = typed(Some(codec), text).unwrap();
            let shown = shown(Some(codec), &bytes);
            let shown = shown.as_str().map_or_else(|| shown.to_string(), str::to_owned);
            assert_eq!(shown, text, "{codec}");
        }
        assert_eq!(typed(None, "base64:/wA=").unwrap(), [0xff, 0]);
        assert!(typed(Some("u8"), "300").unwrap_err().contains("`300` is no u8"));
        assert!(typed(None, "base64:?").unwrap_err().contains("no base64"));
    }
}
