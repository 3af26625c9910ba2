//! Operators' modules in a topic of the pipeline's own, so that whoever has the cluster and the pipeline file has all that a start needs.
//!
//! A module is cut into chunks, each a record with the key `<sha256 in hexadecimal>/<number>`; the topic is compacted, so that putting a module a second time costs
//! nothing in the end. A chunk is one version byte, the number of chunks and the length of the module, little-endian, and its part of the bytes.

use crate::KafkaCluster;
use crate::consumer::Message;
use crate::error::KafkaError;
use crate::names::modules_topic;
use crate::producer::{Outgoing, Producer};
use crate::properties::Properties;
use crate::reader::{Until, read_topic};
use millstream_engine::ports::LogError;
use millstream_model::ids::Digest;

/// Bytes of a module in a record: half of what brokers take as long as nobody says otherwise.
const CHUNK_BYTES: usize = 512 << 10;

/// The version of chunks that is written.
const VERSION: u8 = 1;

const HEADER_BYTES: usize = 1 + 4 + 8;

/// A module is no larger; a header that says otherwise is damaged.
const MODULE_BYTES_MAX: u64 = 1 << 30;

/// How long a record may take to be acknowledged, in milliseconds.
const DELIVER_MS: &str = "30000";

/// The modules of a pipeline on Kafka.
#[derive(Debug, Clone)]
pub struct KafkaModules {
    properties: Properties,
    topic: String,
}

impl KafkaModules {
    /// Prepares them; the topic is made at the first `put`.
    #[must_use]
    pub fn new(properties: &Properties, id: &str) -> Self {
        Self { properties: properties.clone(), topic: modules_topic(id) }
    }

    /// Whether nothing was ever put: there is no topic, or it is new.
    ///
    /// # Errors
    /// When the brokers do not tell.
    pub fn is_empty(&self, cluster: &KafkaCluster) -> Result<bool, KafkaError> {
        Ok(!cluster.has_topic(&self.topic) || cluster.ends(&self.topic)?.iter().all(|end| *end == 0))
    }

    /// Keeps a module. It is acknowledged by the brokers when this returns.
    ///
    /// # Errors
    /// When it is not certain to be kept.
    pub fn put(&self, cluster: &KafkaCluster, digest: Digest, module: &[u8]) -> Result<(), LogError> {
        cluster.ensure_modules_topic(&self.topic)?;
        let properties = self.properties.with(&[
            ("enable.idempotence", "true"),
            ("message.timeout.ms", DELIVER_MS),
            ("allow.auto.create.topics", "false"),
        ]);
        let producer = Producer::new(&properties, std::slice::from_ref(&self.topic))?;
        for (number, chunk) in cut(module).iter().enumerate() {
            let key = key(digest, number);
            let (key, value) = (Some(key.as_bytes()), Some(chunk.as_slice()));
            producer.produce(0, &Outgoing { partition: 0, key, value, timestamp_ms: None, headers: None })?;
        }
        producer.flush()
    }

    /// A module that was put; `None` if it is not there, or not whole. Whether the bytes are those of the digest is for the caller to see.
    ///
    /// # Errors
    /// When the topic cannot be read to its end.
    pub fn get(&self, cluster: &KafkaCluster, digest: Digest) -> Result<Option<Vec<u8>>, LogError> {
        if !cluster.has_topic(&self.topic) {
            return Ok(None);
        }
        let mut chunks = Chunks::default();
        let prefix = key_prefix(digest);
        let show = |message: &Message<'_>| {
            let number = message.key().and_then(|key| number_behind(key, prefix.as_bytes()));
            if let (Some(number), Some(chunk)) = (number, message.value()) {
                chunks.add(number, chunk);
            }
        };
        read_topic(&self.properties, &self.topic, Until::End, show, || Ok(()))?;
        Ok(chunks.whole())
    }
}

fn key(digest: Digest, number: usize) -> String {
    format!("{}{number}", key_prefix(digest))
}

fn key_prefix(digest: Digest) -> String {
    format!("{}/", digest.hex())
}

fn number_behind(key: &[u8], prefix: &[u8]) -> Option<usize> {
    std::str::from_utf8(key.strip_prefix(prefix)?).ok()?.parse().ok()
}

/// A module's chunks as they are written; an empty one has one chunk.
fn cut(module: &[u8]) -> Vec<Vec<u8>> {
    let count = module.len().div_ceil(CHUNK_BYTES).max(1);
    let part = |number: usize| module.get(number * CHUNK_BYTES..).unwrap_or_default();
    let chunk = |number: usize| {
        let part = part(number);
        let part = part.get(..CHUNK_BYTES).unwrap_or(part);
        let mut chunk = Vec::with_capacity(HEADER_BYTES + part.len());
        chunk.push(VERSION);
        chunk.extend((count as u32).to_le_bytes());
        chunk.extend((module.len() as u64).to_le_bytes());
        chunk.extend(part);
        chunk
    };
    (0..count).map(chunk).collect()
}

/// Chunks as they come back, in any order, some of them twice.
#[derive(Debug, Default)]
struct Chunks {
    length: u64,
    parts: Vec<Option<Vec<u8>>>,
}

impl Chunks {
    fn add(&mut self, number: usize, chunk: &[u8]) {
        let Some((count, length, part)) = read(chunk) else { return };
        if self.parts.len() != count || self.length != length {
            (self.length, self.parts) = (length, vec![None; count]);
        }
        if let Some(place) = self.parts.get_mut(number) {
            *place = Some(part.to_vec());
        }
    }

    fn whole(self) -> Option<Vec<u8>> {
        let parts: Vec<Vec<u8>> = self.parts.into_iter().collect::<Option<_>>()?;
        let module = parts.concat();
        (!parts.is_empty() && module.len() as u64 == self.length).then_some(module)
    }
}

/// Number of chunks, length of the module, and the chunk's part of it.
fn read(chunk: &[u8]) -> Option<(usize, u64, &[u8])> {
    let (version, rest) = chunk.split_first()?;
    let (count, rest) = rest.split_first_chunk::<4>()?;
    let (length, part) = rest.split_first_chunk::<8>()?;
    let (count, length) = (u32::from_le_bytes(*count) as usize, u64::from_le_bytes(*length));
    let is_sound = *version == VERSION
        && length <= MODULE_BYTES_MAX
        && count == (length as usize).div_ceil(CHUNK_BYTES).max(1)
        && part.len() <= CHUNK_BYTES;
    is_sound.then_some((count, length, part))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn module(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at % 251) as u8).collect()
    }

    fn joined(chunks: impl IntoIterator<Item = (usize, Vec<u8>)>) -> Option<Vec<u8>> {
        let mut joined = Chunks::default();
        chunks.into_iter().for_each(|(number, chunk)| joined.add(number, &chunk));
        joined.whole()
    }

    #[test]
    fn a_module_comes_back_whatever_its_length_and_the_order_of_chunks() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES] {
            let module = module(length);
            let chunks: Vec<(usize, Vec<u8>)> = cut(&module).into_iter().enumerate().collect();
            assert!(chunks.iter().all(|(_, chunk)| chunk.len() <= HEADER_BYTES + CHUNK_BYTES));
            assert_eq!(joined(chunks.clone()), Some(module.clone()), "{length}");
            assert_eq!(joined(chunks.iter().cloned().chain(chunks.iter().rev().cloned())), Some(module), "{length}");
        }
    }

    #[test]
    fn a_module_that_was_not_put_to_its_end_is_none() {
        let module = module(3 * CHUNK_BYTES);
        let chunks: Vec<(usize, Vec<u8>)> = cut(&module).into_iter().enumerate().collect();
        for missing in 0..chunks.len() {
            let some = chunks.iter().filter(|(number, _)| *number != missing).cloned();
            assert_eq!(joined(some), None, "without chunk {missing}");
        }
        assert_eq!(joined([]), None);
    }

    #[test]
    fn what_is_no_chunk_is_passed_over() {
        let module = module(9);
        let good = cut(&module).remove(0);
        let mut newer = good.clone();
        newer[0] = 2;
        let mut huge = good.clone();
        huge[5..13].copy_from_slice(&u64::MAX.to_le_bytes());
        let mut many = good.clone();
        many[1..5].copy_from_slice(&u32::MAX.to_le_bytes());
        for bad in [vec![], vec![1], newer, huge, many] {
            assert_eq!(joined([(0, good.clone()), (0, bad)]), Some(module.clone()));
        }
    }

    #[test]
    fn keys_name_digest_and_number() {
        let (digest, other) = (Digest([0xab; 32]), Digest([0xa0; 32]));
        let text = key(digest, 12);
        assert_eq!(text, format!("{}/12", "ab".repeat(32)));
        let prefix = key_prefix(digest);
        assert_eq!(number_behind(text.as_bytes(), prefix.as_bytes()), Some(12));
        assert_eq!(number_behind(key(other, 12).as_bytes(), prefix.as_bytes()), None);
    }
}
