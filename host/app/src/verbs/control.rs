use crate::api::{Asked, Body};
use crate::cli::{Format, Reading};
use crate::error::{Failure, Outcome};
use serde_json::Value;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a pipeline may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(600);

/// How often it is looked for.
const STOP_PAUSE: Duration = Duration::from_millis(50);

/// `millstream pause`.
pub(crate) fn pause(reading: &Reading) -> Outcome<()> {
    told(reading, "/pause", "paused")
}

/// `millstream resume`.
pub(crate) fn resume(reading: &Reading) -> Outcome<()> {
    told(reading, "/resume", "running")
}

/// `millstream stop`: waits until the process is gone.
pub(crate) fn stop(reading: &Reading) -> Outcome<()> {
    let socket = super::socket(reading)?;
    let answer = super::asked(reading, Asked::post("/stop", Body::None))?;
    wait_until_gone(&socket)?;
    show(reading, &answer, "stopped")
}

fn told(reading: &Reading, path: &str, what: &str) -> Outcome<()> {
    let answer = super::asked(reading, Asked::post(path, Body::None))?;
    show(reading, &answer, what)
}

fn show(reading: &Reading, answer: &Value, what: &str) -> Outcome<()> {
    if reading.output == Format::Json {
        return super::print_json(answer);
    }
    anstream::println!("{what}");
    Ok(())
}

fn wait_until_gone(socket: &Path) -> Outcome<()> {
    let begun = Instant::now();
    while UnixStream::connect(socket).is_ok() {
        if begun.elapsed() > STOP_PATIENCE {
            return Err(Failure::failed(
                "the pipeline is still draining after ten minutes; its log says what it waits for",
            ));
        }
        std::thread::sleep(STOP_PAUSE);
    }
    Ok(())
}
