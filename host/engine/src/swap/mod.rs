//! What takes over a running operator, and when: decisions about another module for it. All of it is pure; `run` acts.

pub mod restart;
