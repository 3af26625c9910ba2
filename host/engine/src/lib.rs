#![doc = include_str!("../README.md")]

pub mod call;
pub mod keyed;
pub mod ports;
pub mod task;
