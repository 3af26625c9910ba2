//! What tests ask of the binary they ship with: to be killed or frozen at a named point of the protocol, and to have a planted bug. Without the two
//! variables none of it is armed.

use crate::error::{Failure, Outcome};
use fail::FailScenario;
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

/// Planted bugs, as the `fail` crate reads them: `keep_producer=return`.
const BUGS: &str = "FAILPOINTS";

/// `POINT:PASS:SIGNAL`: the signal the process sends itself when a thread comes to the point for the PASS-th time.
const SIGNAL_AT: &str = "MILLSTREAM_SIGNAL_AT";

/// Arms what the environment asks for. The scenario lasts as long as what is returned.
///
/// # Errors
/// When the signal cannot be read: a test that went on would test nothing.
#[expect(
    clippy::disallowed_methods,
    reason = "fail points are told by the environment, so that a test can tell a process it starts"
)]
pub(crate) fn arm() -> Outcome<Option<FailScenario<'static>>> {
    let signal = std::env::var(SIGNAL_AT).ok();
    if signal.is_none() && std::env::var_os(BUGS).is_none() {
        return Ok(None);
    }
    let scenario = FailScenario::setup();
    if let Some(text) = signal {
        let SignalAt { point, pass, signal } = text.parse()?;
        let passes = AtomicU32::new(0);
        let reached = move || {
            if passes.fetch_add(1, Ordering::Relaxed) + 1 == pass {
                // Takes the whole process, this thread included: SIGKILL as from outside, SIGSTOP until somebody sends SIGCONT.
                let _ = signal_hook::low_level::raise(signal);
            }
        };
        fail::cfg_callback(point, reached).map_err(Failure::config)?;
    }
    Ok(Some(scenario))
}

#[derive(Debug, PartialEq, Eq)]
struct SignalAt {
    point: String,
    pass: u32,
    signal: i32,
}

impl FromStr for SignalAt {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let read = match parts.as_slice() {
            [point, pass, "kill"] => pass.parse().ok().map(|pass| (*point, pass, libc::SIGKILL)),
            [point, pass, "stop"] => pass.parse().ok().map(|pass| (*point, pass, libc::SIGSTOP)),
            _ => None,
        };
        let (point, pass, signal) =
            read.ok_or_else(|| Failure::config(format!("{SIGNAL_AT}={text}: write it like before_apply:1:kill")))?;
        Ok(Self { point: point.to_owned(), pass, signal })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_a_point_and_a_pass() {
        let read = |text: &str| text.parse::<SignalAt>().ok();
        let expected = SignalAt { point: "mid_flush".to_owned(), pass: 2, signal: libc::SIGKILL };
        assert_eq!(read("mid_flush:2:kill"), Some(expected));
        assert_eq!(read("mid_flush:1:stop").map(|at| at.signal), Some(libc::SIGSTOP));
        for wrong in ["", "mid_flush", "mid_flush:x:kill", "mid_flush:1:term"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
