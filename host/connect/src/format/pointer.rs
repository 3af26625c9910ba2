use crate::Error;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;
use std::str::FromStr;

/// A place in a JSON document (RFC 6901): `/user/id`, `/items/0`. Found without building the document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    steps: Vec<String>,
}

impl FromStr for Pointer {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bad = || Error::Pointer { pointer: text.to_owned() };
        let rest = text.strip_prefix('/').ok_or_else(bad)?;
        let steps = rest.split('/').map(|step| {
            let after = step.split('~').skip(1);
            let is_escaped = after.into_iter().all(|part| part.starts_with(['0', '1']));
            is_escaped.then(|| step.replace("~1", "/").replace("~0", "~")).ok_or_else(bad)
        });
        Ok(Self { steps: steps.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

impl Pointer {
    /// The JSON text at this place. `None`: the document is not JSON, or has no such place. The last of several members of one name counts.
    fn find<'a>(&self, document: &'a str) -> Option<&'a RawValue> {
        let mut json = serde_json::Deserializer::from_str(document);
        let found = Walk { steps: &self.steps }.deserialize(&mut json).ok()?;
        json.end().ok()?;
        found
    }

    /// Puts what is there into `bytes`: the content of a string, the text of anything else. `Some(false)` for null.
    pub(crate) fn bytes(&self, document: &str, bytes: &mut Vec<u8>) -> Option<bool> {
        let text = self.find(document)?.get();
        bytes.clear();
        match text.as_bytes() {
            b"null" => return Some(false),
            [b'"', content @ .., b'"'] if !content.contains(&b'\\') => bytes.extend_from_slice(content),
            [b'"', ..] => bytes.extend_from_slice(serde_json::from_str::<String>(text).ok()?.as_bytes()),
            other => bytes.extend_from_slice(other),
        }
        Some(true)
    }

    /// The integer that is there.
    pub(crate) fn integer(&self, document: &str) -> Option<i64> {
        self.find(document)?.get().parse().ok()
    }
}

/// Goes the steps that are left and passes over everything else.
struct Walk<'p> {
    steps: &'p [String],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if self.steps.is_empty() {
            return serde::Deserialize::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let Some((step, rest)) = self.steps.split_first() else { return Ok(None) };
        let mut found = None;
        while let Some(is_step) = map.next_key_seed(Is(step))? {
            if is_step {
                found = map.next_value_seed(Walk { steps: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let Some((step, rest)) = self.steps.split_first() else { return Ok(None) };
        // `01` and `+1` are no positions.
        let place = step.parse::<usize>().ok().filter(|place| place.to_string() == *step);
        for at in 0.. {
            if Some(at) == place {
                let Some(found) = list.next_element_seed(Walk { steps: rest })? else { return Ok(None) };
                while list.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(found);
            }
            if list.next_element::<IgnoredAny>()?.is_none() {
                break;
            }
        }
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Whether a name is the one searched; without a copy of it.
struct Is<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn key(pointer: &str, document: &str) -> Option<Option<String>> {
        let mut bytes = b"old".to_vec();
        let has_key = pointer.parse::<Pointer>().unwrap().bytes(document, &mut bytes)?;
        Some(has_key.then(|| String::from_utf8(bytes).unwrap()))
    }

    #[test]
    fn strings_give_their_content_and_the_rest_its_text() {
        let document = r#" {"a": {"b/c": "x", "~": "q\"\u00fc\n"}, "n": 1.50, "l": [true, {"k": null}, [ 1]], "": 2} "#;
        for (pointer, expected) in [
            ("/a/b~1c", Some(Some("x"))),
            ("/a/~0", Some(Some("q\"ü\n"))),
            ("/n", Some(Some("1.50"))),
            ("/l/0", Some(Some("true"))),
            ("/l/1/k", Some(None)),
            ("/l/2", Some(Some("[ 1]"))),
            ("/", Some(Some("2"))),
            ("/l/3", None),
            ("/l/01", None),
            ("/n/x", None),
            ("/missing", None),
        ] {
            assert_eq!(key(pointer, document), expected.map(|key| key.map(str::to_owned)), "{pointer}");
        }
    }

    #[test]
    fn what_is_not_json_has_no_places() {
        for document in ["{\"a\":1", "{\"a\":1}x", "", r#"{"a":"\ud800"}"#, "a"] {
            assert_eq!(key("/a", document), None, "{document}");
        }
    }

    #[test]
    fn the_last_of_several_members_counts() {
        assert_eq!(key("/a", r#"{"a":1,"a":2}"#), Some(Some("2".to_owned())));
    }

    #[test]
    fn integers_are_taken_as_they_are() {
        let integer = |document: &str| "/t".parse::<Pointer>().unwrap().integer(document);
        assert_eq!(integer(r#"{"t":-5}"#), Some(-5));
        for other in [r#"{"t":1.5}"#, r#"{"t":"5"}"#, r#"{"t":null}"#, r#"{"t":9223372036854775808}"#, "{}"] {
            assert_eq!(integer(other), None, "{other}");
        }
    }

    #[test]
    fn a_pointer_begins_with_a_slash_and_escapes_tildes() {
        for bad in ["", "a", "a/b", "/a~b", "/a~", "/~2"] {
            let error = bad.parse::<Pointer>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{bad}` is no JSON pointer")), "{error}");
        }
        assert_eq!("/a~1b/~0/0".parse::<Pointer>().unwrap().to_string(), "/a~1b/~0/0");
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab/~0]{0,2}", inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn finds_what_serde_json_finds(document in documents(), steps in prop::collection::vec("[ab/~01]{0,2}", 1..4)) {
            let pointer = Pointer { steps };
            let text = document.to_string();
            let found = pointer.find(&text).map(|raw| serde_json::from_str::<Value>(raw.get()).unwrap());
            prop_assert_eq!(found.as_ref(), document.pointer(&pointer.to_string()));
        }
    }
}
