#![doc = include_str!("../README.md")]

pub mod call;
pub mod commit;
pub mod exchange;
pub mod fakes;
pub mod keyed;
pub mod places;
mod planted;
pub mod ports;
pub mod run;
pub mod swap;
pub mod task;
pub mod time;
pub mod timers;
pub mod worker;
