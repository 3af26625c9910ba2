//! `probe`: looks for what an operator must not see, and emits what it found as text. Each value asks for one thing.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, export_operators};
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime};

struct Probe {
    found: Output,
}

impl Operator for Probe {
    fn open(setup: &mut Setup) -> Result<Self> {
        Ok(Self { found: setup.output("found") })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let found = match record.value().unwrap_or_default() {
            b"random" => random(),
            b"order" => order(),
            b"wall" => wall_ms().to_string(),
            b"sleep" => slept(),
            b"environment" => {
                format!("{:?} {:?}", std::env::vars().collect::<Vec<_>>(), std::env::args().collect::<Vec<_>>())
            }
            b"files" => files(),
            b"network" => said(std::net::TcpStream::connect("127.0.0.1:80").map(drop)),
            b"threads" => said(std::thread::Builder::new().spawn(|| ()).map(drop)),
            b"nan" => nans(),
            _ => "nothing asked for".to_owned(),
        };
        ctx.emit(self.found, found.as_bytes());
        Ok(())
    }
}

fn random() -> String {
    format!("{:x}", RandomState::new().hash_one(7))
}

fn order() -> String {
    let map: HashMap<u32, ()> = (0..50).map(|number| (number, ())).collect();
    map.keys().map(u32::to_string).collect::<Vec<_>>().join(" ")
}

fn wall_ms() -> u128 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// An hour is over at once, shows on the clock that only goes on, and on no other.
fn slept() -> String {
    let (started, wall) = (Instant::now(), wall_ms());
    std::thread::sleep(Duration::from_secs(3_600));
    format!("{} s, wall clock {}", started.elapsed().as_secs(), wall_ms() - wall)
}

fn files() -> String {
    let paths = ["/", ".", "/etc/passwd", "/dev/urandom"];
    let open = paths.map(|path| said(std::fs::File::open(path).map(drop)));
    format!("{} {}", open.join(" "), said(std::fs::write("/tmp/found", "x")))
}

fn said(result: std::io::Result<()>) -> String {
    if result.is_ok() { "yes".to_owned() } else { "no".to_owned() }
}

/// What arithmetic makes of NaNs whose payloads differ.
fn nans() -> String {
    let quiet = |payload: u64| black_box(f64::from_bits(0x7ff8_0000_0000_0000 | payload));
    let sum = black_box(quiet(1) + quiet(2));
    let negative = black_box(-quiet(7) + black_box(0.5));
    let none = black_box(0.0_f64) / black_box(0.0_f64);
    let short = black_box(f32::from_bits(0x7fc0_0123)) * black_box(1.0_f32);
    format!("{:x} {:x} {:x} {:x}", sum.to_bits(), negative.to_bits(), none.to_bits(), short.to_bits())
}

export_operators! { "probe": Probe }
