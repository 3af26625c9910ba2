//! Free ports.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};

/// Where ports are looked for: below the kernel's ephemeral range. A client that keeps trying to reach a stopped broker
/// on an ephemeral port of loopback will sooner or later connect to itself, and the broker cannot come back.
const RANGE: std::ops::Range<u16> = 12_000..30_000;

/// A port of loopback that nobody listens on.
///
/// # Errors
/// If there is none, which means that the machine refuses to listen at all.
pub fn free_port() -> Result<u16> {
    for attempt in 0..1_000_u16 {
        let random = RandomState::new().hash_one(attempt) % u64::from(RANGE.end - RANGE.start);
        let port = RANGE.start + u16::try_from(random)?;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between {} and {}", RANGE.start, RANGE.end)
}
