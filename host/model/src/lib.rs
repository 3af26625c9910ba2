#![doc = include_str!("../README.md")]

pub mod cell;
pub mod column;
pub mod column_ref;
pub mod commit;
pub mod descriptor;
pub mod ids;
pub mod key_group;
pub mod limits;
pub mod plan;
pub mod record;
pub mod window;

pub use column::{BytesColumn, ColumnError, HeadersColumn};
pub use column_ref::{CheckedColumn, ColumnRef};
pub use ids::{
    Digest, EpochNumber, Generation, Incarnation, Lineage, OperatorIndex, PartitionIndex, SinkIndex, SourceIndex, Token,
};
pub use key_group::{KEY_GROUPS, KeyGroup, key_group, murmur2};
pub use record::{Origin, RecordBatch};
