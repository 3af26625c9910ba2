#![doc = include_str!("../README.md")]

pub mod bare;
pub mod boundary;
pub mod job;
pub mod native;
pub mod operators;
pub mod pipeline;
pub mod report;
pub mod restart;
pub mod role;
pub mod scratch;
pub mod stream;
pub mod suite;
pub mod usage;
