//! Kafka messages, as far as a proxy has to understand them.
//!
//! Source: the protocol guide of Apache Kafka, "Protocol Primitive Types" and request header versions 1 and 2, which
//! begin alike. A response begins with the correlation id of its request.

use std::fmt;
use std::io::{self, Read};

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiKey(pub i16);

impl ApiKey {
    /// Records for partitions.
    pub const PRODUCE: Self = Self(0);
    /// Records from partitions.
    pub const FETCH: Self = Self(1);
    /// First or last offsets.
    pub const LIST_OFFSETS: Self = Self(2);
    /// Brokers, topics and leaders.
    pub const METADATA: Self = Self(3);
    /// Plain commit of group offsets.
    pub const OFFSET_COMMIT: Self = Self(8);
    /// Group offsets.
    pub const OFFSET_FETCH: Self = Self(9);
    /// Who coordinates a group or a transactional id.
    pub const FIND_COORDINATOR: Self = Self(10);
    /// Which requests the broker knows; the first one of every connection.
    pub const API_VERSIONS: Self = Self(18);
    /// A new epoch for a producer id; fences and settles what the former one left open.
    pub const INIT_PRODUCER_ID: Self = Self(22);
    /// Partitions join a transaction.
    pub const ADD_PARTITIONS_TO_TXN: Self = Self(24);
    /// Group offsets join a transaction.
    pub const ADD_OFFSETS_TO_TXN: Self = Self(25);
    /// Commit or abort.
    pub const END_TXN: Self = Self(26);
    /// Group offsets inside a transaction.
    pub const TXN_OFFSET_COMMIT: Self = Self(28);
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::PRODUCE => "Produce",
            Self::FETCH => "Fetch",
            Self::LIST_OFFSETS => "ListOffsets",
            Self::METADATA => "Metadata",
            Self::OFFSET_COMMIT => "OffsetCommit",
            Self::OFFSET_FETCH => "OffsetFetch",
            Self::FIND_COORDINATOR => "FindCoordinator",
            Self::API_VERSIONS => "ApiVersions",
            Self::INIT_PRODUCER_ID => "InitProducerId",
            Self::ADD_PARTITIONS_TO_TXN => "AddPartitionsToTxn",
            Self::ADD_OFFSETS_TO_TXN => "AddOffsetsToTxn",
            Self::END_TXN => "EndTxn",
            Self::TXN_OFFSET_COMMIT => "TxnOffsetCommit",
            Self(other) => return write!(f, "api key {other}"),
        };
        f.write_str(name)
    }
}

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From client to broker.
    Request,
    /// From broker to client.
    Response,
}

/// One request or response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Which way it goes.
    pub direction: Direction,
    /// What it asks for, or answers.
    pub api_key: ApiKey,
    /// Version of the request.
    pub api_version: i16,
    /// Pairs requests and responses of a connection.
    pub correlation_id: i32,
    /// How the client calls itself.
    pub client_id: String,
    /// The whole message without its length.
    pub bytes: Vec<u8>,
}

/// No message of a test is larger; a length beyond it means that this is not Kafka's protocol.
const BYTES_MAX: usize = 256 << 20;

/// Reads the bytes of one message; none at a clean end of the stream.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match from.read_exact(&mut length) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let length = usize::try_from(i32::from_be_bytes(length)).ok().filter(|&length| length <= BYTES_MAX);
    let Some(length) = length else {
        return Err(io::Error::other("a length that no Kafka message has"));
    };
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

/// A message as it goes over the wire.
pub(crate) fn with_length(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let mut whole = Vec::with_capacity(bytes.len() + 4);
    whole.extend_from_slice(&length.to_be_bytes());
    whole.extend_from_slice(bytes);
    whole
}

/// Takes the header of a request apart.
pub(crate) fn request(bytes: Vec<u8>) -> io::Result<Message> {
    let header = bytes.split_first_chunk::<8>().map(|(&[a, b, c, d, e, f, g, h], rest)| {
        let numbers = (i16::from_be_bytes([a, b]), i16::from_be_bytes([c, d]), i32::from_be_bytes([e, f, g, h]));
        (numbers, client_id(rest))
    });
    let Some(((api_key, api_version, correlation_id), client_id)) = header else {
        return Err(io::Error::other("a request shorter than its header"));
    };
    Ok(Message {
        direction: Direction::Request,
        api_key: ApiKey(api_key),
        api_version,
        correlation_id,
        client_id,
        bytes,
    })
}

/// The correlation id of a response.
pub(crate) fn correlation_id(bytes: &[u8]) -> io::Result<i32> {
    let head = bytes.first_chunk::<4>().ok_or_else(|| io::Error::other("a response shorter than its header"))?;
    Ok(i32::from_be_bytes(*head))
}

/// A nullable string: two bytes of length, -1 for null.
fn client_id(bytes: &[u8]) -> String {
    let name = bytes.split_first_chunk::<2>().and_then(|(length, rest)| {
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        rest.get(..length)
    });
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_request_header_is_taken_apart() {
        let bytes = [0, 26, 0, 3, 0, 0, 1, 2, 0, 4, b't', b'e', b's', b't', 9, 9];
        let message = request(bytes.to_vec()).unwrap();
        assert_eq!(message.api_key, ApiKey::END_TXN);
        assert_eq!((message.api_version, message.correlation_id), (3, 258));
        assert_eq!(message.client_id, "test");
    }

    #[test]
    fn a_null_client_id_is_empty() {
        let bytes = [0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff];
        assert_eq!(request(bytes.to_vec()).unwrap().client_id, "");
    }

    #[test]
    fn what_is_not_kafka_is_refused() {
        assert!(read(&mut b"GET / HTTP/1.1\r\n".as_slice()).is_err());
        assert!(request(vec![0, 26]).is_err());
        assert!(correlation_id(&[1, 2]).is_err());
    }

    #[test]
    fn a_message_survives_the_wire() {
        let wire = with_length(b"abc");
        assert_eq!(read(&mut wire.as_slice()).unwrap().unwrap(), b"abc");
        assert_eq!(read(&mut [].as_slice()).unwrap(), None);
    }
}
