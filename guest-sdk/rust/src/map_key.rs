//! Keys of map entries: bytes that sort as the keys do.

use crate::{Result, reject};

/// How a map key becomes bytes and comes back. The bytes of two keys compare as the keys do, so that ranges are ranges of keys.
///
/// Given: unsigned integers (big endian), signed ones (with the sign bit turned), `bool`, `String`, `Vec<u8>`, byte arrays, and pairs and triples of these.
pub trait MapKey: Sized {
    /// How the bytes are to be shown: `key-codec` of the contract's properties.
    const CODEC: &'static str = "bytes";

    /// Appends the bytes of the key.
    fn encode(&self, to: &mut Vec<u8>);

    /// The key of these bytes.
    ///
    /// # Errors
    /// The bytes are no encoding of this type.
    fn decode(bytes: &[u8]) -> Result<Self>;

    /// Appends the bytes of the key as the first part of a longer one: they tell where they end. Without further ado a zero byte is followed by 255, and the end by two zero
    /// bytes, which keeps the order.
    fn encode_part(&self, to: &mut Vec<u8>) {
        let start = to.len();
        self.encode(to);
        let zeros = to.iter().skip(start).filter(|&&byte| byte == 0).count();
        if zeros > 0 {
            let plain = to.split_off(start);
            for byte in plain {
                to.push(byte);
                if byte == 0 {
                    to.push(0xff);
                }
            }
        }
        to.extend_from_slice(&[0, 0]);
    }

    /// Takes the first part off the bytes of a longer key.
    ///
    /// # Errors
    /// The bytes do not begin with an encoding of this type.
    fn decode_part(bytes: &mut &[u8]) -> Result<Self> {
        let mut plain = Vec::new();
        let mut rest = bytes.iter();
        let cut_short = || reject("a stored map key is cut short");
        loop {
            match rest.next().ok_or_else(cut_short)? {
                0 => match rest.next().ok_or_else(cut_short)? {
                    0 => break,
                    255 => plain.push(0),
                    other => return Err(reject(format!("a stored map key has the byte {other} behind a zero"))),
                },
                byte => plain.push(*byte),
            }
        }
        *bytes = rest.as_slice();
        Self::decode(&plain)
    }
}

/// What can stand for a map key when asking: `&str` for `String`, `&[u8]` for `Vec<u8>`, and every key for itself.
pub trait AsMapKey<K> {
    /// Appends the bytes of the key.
    fn encode_as(&self, to: &mut Vec<u8>);
}

impl<K: MapKey> AsMapKey<K> for K {
    fn encode_as(&self, to: &mut Vec<u8>) {
        self.encode(to);
    }
}

impl AsMapKey<String> for str {
    fn encode_as(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.as_bytes());
    }
}

impl AsMapKey<Vec<u8>> for [u8] {
    fn encode_as(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }
}

/// UTF-8.
impl MapKey for String {
    const CODEC: &'static str = "text";

    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self.as_bytes());
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(str::from_utf8(bytes)?.to_owned())
    }
}

/// Bytes as they are.
impl MapKey for Vec<u8> {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        Ok(bytes.to_vec())
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let Some((part, rest)) = bytes.split_first_chunk::<N>() else {
        return Err(reject(format!("a stored map key has {} bytes where {N} were due", bytes.len())));
    };
    *bytes = rest;
    Ok(*part)
}

fn whole<const N: usize>(mut bytes: &[u8]) -> Result<[u8; N]> {
    let array = take(&mut bytes)?;
    match bytes {
        [] => Ok(array),
        rest => Err(reject(format!("a stored map key has {} bytes where {N} were due", N + rest.len()))),
    }
}

/// Bytes as they are.
impl<const N: usize> MapKey for [u8; N] {
    fn encode(&self, to: &mut Vec<u8>) {
        to.extend_from_slice(self);
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        whole(bytes)
    }
    fn encode_part(&self, to: &mut Vec<u8>) {
        self.encode(to);
    }
    fn decode_part(bytes: &mut &[u8]) -> Result<Self> {
        take(bytes)
    }
}

/// One byte, 0 or 1.
impl MapKey for bool {
    const CODEC: &'static str = "bool";

    fn encode(&self, to: &mut Vec<u8>) {
        to.push(u8::from(*self));
    }
    fn decode(bytes: &[u8]) -> Result<Self> {
        match whole(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [other] => Err(reject(format!("a stored bool has the byte {other}, not 0 or 1"))),
        }
    }
    fn encode_part(&self, to: &mut Vec<u8>) {
        self.encode(to);
    }
    fn decode_part(bytes: &mut &[u8]) -> Result<Self> {
        take::<1>(bytes).and_then(|byte| Self::decode(&byte))
    }
}

macro_rules! integers {
    ($($number:ty, $codec:literal, $turn:expr;)*) => {$(
        /// Big endian; with the sign bit turned, if it has one.
        impl MapKey for $number {
            const CODEC: &'static str = $codec;

            fn encode(&self, to: &mut Vec<u8>) {
                to.extend_from_slice(&(self ^ $turn).to_be_bytes());
            }
            fn decode(bytes: &[u8]) -> Result<Self> {
                whole(bytes).map(|bytes| Self::from_be_bytes(bytes) ^ $turn)
            }
            fn encode_part(&self, to: &mut Vec<u8>) {
                self.encode(to);
            }
            fn decode_part(bytes: &mut &[u8]) -> Result<Self> {
                take(bytes).map(|bytes| Self::from_be_bytes(bytes) ^ $turn)
            }
        }
    )*};
}

integers! {
    u8, "u8", 0;
    u16, "u16", 0;
    u32, "u32", 0;
    u64, "u64", 0;
    u128, "u128", 0;
    i8, "ordered-i8", i8::MIN;
    i16, "ordered-i16", i16::MIN;
    i32, "ordered-i32", i32::MIN;
    i64, "ordered-i64", i64::MIN;
    i128, "ordered-i128", i128::MIN;
}

/// One after the other; ordered by the first, then by the second.
impl<A: MapKey, B: MapKey> MapKey for (A, B) {
    fn encode(&self, to: &mut Vec<u8>) {
        self.0.encode_part(to);
        self.1.encode(to);
    }
    fn decode(mut bytes: &[u8]) -> Result<Self> {
        let first = A::decode_part(&mut bytes)?;
        Ok((first, B::decode(bytes)?))
    }
    fn encode_part(&self, to: &mut Vec<u8>) {
        self.0.encode_part(to);
        self.1.encode_part(to);
    }
    fn decode_part(bytes: &mut &[u8]) -> Result<Self> {
        Ok((A::decode_part(bytes)?, B::decode_part(bytes)?))
    }
}

/// One after the other; ordered by the first, then by the second, then by the third.
impl<A: MapKey, B: MapKey, C: MapKey> MapKey for (A, B, C) {
    fn encode(&self, to: &mut Vec<u8>) {
        self.0.encode_part(to);
        self.1.encode_part(to);
        self.2.encode(to);
    }
    fn decode(mut bytes: &[u8]) -> Result<Self> {
        let (first, second) = (A::decode_part(&mut bytes)?, B::decode_part(&mut bytes)?);
        Ok((first, second, C::decode(bytes)?))
    }
    fn encode_part(&self, to: &mut Vec<u8>) {
        self.0.encode_part(to);
        self.1.encode_part(to);
        self.2.encode_part(to);
    }
    fn decode_part(bytes: &mut &[u8]) -> Result<Self> {
        Ok((A::decode_part(bytes)?, B::decode_part(bytes)?, C::decode_part(bytes)?))
    }
}

/// The lowest bytes behind all that begin with `prefix`; none if there are none.
pub(crate) fn prefix_end(mut prefix: Vec<u8>) -> Option<Vec<u8>> {
    while let Some(last) = prefix.pop() {
        if let Some(next) = last.checked_add(1) {
            prefix.push(next);
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use std::fmt::Debug;

    fn bytes(key: &impl MapKey) -> Vec<u8> {
        let mut bytes = Vec::new();
        key.encode(&mut bytes);
        bytes
    }

    fn ordered<K: MapKey + Ord + Debug>(a: &K, b: &K) {
        assert_eq!(bytes(a).cmp(&bytes(b)), a.cmp(b), "{a:?} and {b:?}");
        assert_eq!(K::decode(&bytes(a)).unwrap(), *a);
        let mut part = Vec::new();
        a.encode_part(&mut part);
        part.extend_from_slice(b"rest");
        let mut rest = part.as_slice();
        assert_eq!(K::decode_part(&mut rest).unwrap(), *a);
        assert_eq!(rest, b"rest");
    }

    /// Texts in which zeros and 255 meet.
    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0u8, 1, b'a', 254, 255]), 0..6)
    }

    proptest! {
        #[test]
        fn keys_sort_as_their_bytes_and_come_back(
            numbers: [(i64, u16); 2], texts in [text(), text()], more in [text(), text()], flags: [bool; 2],
        ) {
            let [(a, m), (b, n)] = numbers;
            ordered(&a, &b);
            ordered(&m, &n);
            ordered(&(a as i8), &(b as i8));
            ordered(&i128::from(a), &i128::from(b));
            let ([s, t], [u, v], [f, g]) = (texts, more, flags);
            ordered(&s, &t);
            ordered(&(s.clone(), a), &(t.clone(), b));
            ordered(&(s.clone(), u.clone()), &(s.clone(), v.clone()));
            ordered(&(f, s.clone(), m), &(g, t.clone(), n));
            ordered(&((s, f), u), &((t, g), v));
        }

        #[test]
        fn noise_is_refused_or_a_key_but_never_a_panic(noise in prop::collection::vec(any::<u8>(), 0..12)) {
            let _ = <(String, u32)>::decode(&noise);
            let _ = <(bool, Vec<u8>, i16)>::decode(&noise);
        }
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(u32::decode(&[1, 2]).unwrap_err().reason().contains("2 bytes where 4"));
        assert!(u8::decode(&[1, 2]).unwrap_err().reason().contains("2 bytes where 1"));
        assert!(<(String, u8)>::decode(b"a").unwrap_err().reason().contains("cut short"));
        assert!(bool::decode(&[3]).is_err());
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_all_that_begin_with_it() {
        assert_eq!(prefix_end(vec![1, 2]), Some(vec![1, 3]));
        assert_eq!(prefix_end(vec![1, 255]), Some(vec![2]));
        assert_eq!(prefix_end(vec![255]), None);
    }
}
