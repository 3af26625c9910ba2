//! How a value of Rust becomes bytes in a state.

use crate::{Result, reject};
use serde::{Serialize, de::DeserializeOwned};

/// How a value becomes bytes and comes back.
///
/// Bytes outlive the program that wrote them: an encoding that changes needs another state version, see
/// [`State::version`](crate::State::version).
pub trait Codec: Sized {
    /// How the bytes are to be shown: `codec` of the contract's properties.
    const NAME: &'static str = "bytes";

    /// Appends the bytes of the value.
    ///
    /// # Errors
    /// The value has no encoding, such as a JSON map whose keys are no strings. The record in hand is rejected.
    fn encode(&self, to: &mut Vec<u8>) -> Result<()>;

    /// The value of these bytes.
    ///
    /// # Errors
    /// The bytes are not an encoding of this type.
    fn decode(bytes: &[u8]) -> Result<Self>;
}

/// A value stored as JSON: readable by everyone, slower and larger than [`Postcard`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Json<T>(
    /// The value.
    pub T,
);

/// A value stored by the `postcard` crate: compact. Adding a field changes the encoding.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Postcard<T>(
    /// The value.
    pub T,
);

impl<T: Serialize + DeserializeOwned> Codec for Json<T> {
    const NAME: &'static str = "json";

    fn encode(&self, to: &mut Vec<u8>) -> Result<()> {
        Ok(serde_json::to_writer(to, &self.0)?)
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(Self(serde_json::from_slice(bytes)?))
    }
}

impl<T: Serialize + DeserializeOwned> Codec for Postcard<T> {
    fn encode(&self, to: &mut Vec<u8>) -> Result<()> {
        postcard::to_io(&self.0, to)?;
        Ok(())
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(Self(postcard::from_bytes(bytes)?))
    }
}

/// Bytes as they are.
impl Codec for Vec<u8> {
    fn encode(&self, to: &mut Vec<u8>) -> Result<()> {
        to.extend_from_slice(self);
        Ok(())
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }
}

/// UTF-8.
impl Codec for String {
    const NAME: &'static str = "text";

    fn encode(&self, to: &mut Vec<u8>) -> Result<()> {
        to.extend_from_slice(self.as_bytes());
        Ok(())
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(str::from_utf8(bytes)?.to_owned())
    }
}

/// No bytes: a state that only says that something was seen.
impl Codec for () {
    const NAME: &'static str = "unit";

    fn encode(&self, _: &mut Vec<u8>) -> Result<()> {
        Ok(())
    }
    fn decode(_: &[u8]) -> Result<Self> {
        Ok(())
    }
}

/// One byte, 0 or 1.
impl Codec for bool {
    const NAME: &'static str = "bool";

    fn encode(&self, to: &mut Vec<u8>) -> Result<()> {
        to.push(u8::from(*self));
        Ok(())
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            other => Err(reject(format!("a stored bool has the bytes {other:?}, not 0 or 1"))),
        }
    }
}

macro_rules! big_endian {
    ($($number:ty),*) => {$(
        /// Big endian, of fixed size, as Kafka's own serializers write it.
        impl Codec for $number {
            const NAME: &'static str = stringify!($number);

            fn encode(&self, to: &mut Vec<u8>) -> Result<()> {
                to.extend_from_slice(&self.to_be_bytes());
                Ok(())
            }
            fn decode(bytes: &[u8]) -> Result<Self> {
                let Ok(bytes) = bytes.try_into() else {
                    return Err(reject(format!(
                        "a stored {} has {} bytes; was it written by another type? give the state a new version",
                        stringify!($number),
                        bytes.len(),
                    )));
                };
                Ok(Self::from_be_bytes(bytes))
            }
        }
    )*};
}
big_endian!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::{collections::BTreeMap, fmt::Debug};

    fn comes_back<T: Codec + PartialEq + Debug>(value: T, bytes: &[u8]) {
        let mut written = Vec::new();
        value.encode(&mut written).unwrap();
        assert_eq!(written, bytes);
        assert_eq!(T::decode(bytes).unwrap(), value);
    }

    #[test]
    fn bytes_are_those_that_are_promised() {
        comes_back(258_u64, &[0, 0, 0, 0, 0, 0, 1, 2]);
        comes_back(-2_i16, &[0xff, 0xfe]);
        comes_back(1.5_f64, &[0x3f, 0xf8, 0, 0, 0, 0, 0, 0]);
        comes_back("né".to_owned(), "né".as_bytes());
        comes_back(vec![0_u8, 255], &[0, 255]);
        comes_back((), b"");
        comes_back(true, &[1]);
        comes_back(Json(vec![1, 2]), b"[1,2]");
        comes_back(Postcard((1_u32, "a".to_owned())), &[1, 1, b'a']);
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(u64::decode(&[1, 2]).unwrap_err().reason().contains("a stored u64 has 2 bytes"));
        assert!(bool::decode(&[2]).is_err());
        assert!(String::decode(&[0xff]).is_err());
        assert!(Json::<u8>::decode(b"{").is_err());
    }

    #[test]
    fn a_value_without_an_encoding_is_an_error() {
        let map = Json(BTreeMap::from([((1, 2), 3)]));
        assert!(map.encode(&mut Vec::new()).is_err());
    }
}
