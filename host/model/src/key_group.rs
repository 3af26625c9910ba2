//! Where a key lives: Kafka's murmur2, partitions and key groups.

/// Number of key groups; fixed for a lineage, since state is laid out by them.
pub const KEY_GROUPS: u16 = 128;

/// A slice of the key space; the unit in which keyed state is placed and moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u8);

/// The 32-bit murmur2 of the Java client (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const SEED: u32 = 0x9747_b28c;
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !rest.is_empty() {
        for (at, &byte) in rest.iter().enumerate() {
            hash ^= u32::from(byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The key group of a key: murmur2 without its sign bit, mod [`KEY_GROUPS`].
#[must_use]
#[inline]
pub fn key_group(key: &[u8]) -> KeyGroup {
    KeyGroup(((murmur2(key) & 0x7fff_ffff) % u32::from(KEY_GROUPS)) as u8)
}

impl KeyGroup {
    /// The part of `parts` that owns this group: contiguous ranges of nearly equal size, as for changelog partitions and workers.
    #[must_use]
    #[inline]
    pub fn part_of(self, parts: u32) -> u32 {
        u32::from(self.0) * parts / u32::from(KEY_GROUPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_agrees_with_the_java_client() {
        let vectors: [(&[u8], i32); 8] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
            (b"", 275_646_681),
            (b"1", -1_993_445_489),
        ];
        for (data, hash) in vectors {
            assert_eq!(murmur2(data) as i32, hash, "{}", String::from_utf8_lossy(data));
        }
    }

    #[test]
    fn parts_are_contiguous_and_cover_all_groups() {
        for parts in 1..=16 {
            let owners: Vec<u32> = (0..KEY_GROUPS as u8).map(|group| KeyGroup(group).part_of(parts)).collect();
            assert!(owners.is_sorted());
            assert_eq!(owners.first(), Some(&0));
            assert_eq!(owners.last(), Some(&(parts - 1)));
        }
    }
}
