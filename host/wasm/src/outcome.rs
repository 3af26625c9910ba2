//! What a failed call means: the runtime's errors, told apart.

use crate::host::{GuestFault, Host};
use crate::limits::LimitHit;
use crate::log::{OperatorLog, cut};
use crate::simple::StopRequest;
use millstream_engine::ports::CallError;
use std::fmt::Write;
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Frames of a backtrace that are kept.
const FRAMES_MAX: usize = 32;

/// Bytes of a panic's text, or of the last words before another end, that are kept.
const WORDS_BYTES_MAX: usize = 512;

/// How the runtime begins to say that a request handed over too much: the error has no type of its own. A test holds it to these words.
const TOO_MUCH: &str = "too much data is being copied between the host and the guest";

/// How the runtime begins to say that a component has too many of something.
const TOO_MANY: &str = "resource limit exceeded: ";

/// The error of a call that did not return. The instance is not to be used again.
pub(crate) fn call_error(error: &Error, host: &Host, limit_ms: u64) -> CallError {
    if let Some(GuestFault(fault)) = error.downcast_ref::<GuestFault>() {
        return match CallError::from(fault.clone()) {
            CallError::Trap { reason, .. } => CallError::Trap { reason, backtrace: backtrace(error) },
            other => other,
        };
    }
    if let Some(StopRequest(reason)) = error.downcast_ref::<StopRequest>() {
        return CallError::Stop(reason.clone());
    }
    let words = last_words(&host.log);
    if let Some((limit, reason)) = limit_hit(error, host) {
        return CallError::Limit { limit, reason: with_words(reason, words.as_deref()) };
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::Interrupt) {
        return CallError::Timeout { limit_ms, last_words: words };
    }
    let backtrace = backtrace(error);
    match (gave_up(error), words) {
        // A guest that ends itself and says why: a panic of Rust or Go, an exception in Python, a failed assertion in C.
        (Some(how), Some(text)) => CallError::Panic { text: format!("{text}{how}"), backtrace },
        (_, words) => CallError::Trap { reason: with_words(reason(error), words.as_deref()), backtrace },
    }
}

/// What went wrong outside of `process`, where there is no record to blame.
pub(crate) fn describe(error: &Error, host: &Host, limit_ms: u64) -> String {
    match call_error(error, host, limit_ms) {
        CallError::Timeout { limit_ms, last_words } => {
            with_words(format!("it took longer than {limit_ms} ms"), last_words.as_deref())
        }
        other => other.to_string(),
    }
}

/// The setting below `limits` that ended the call, and what happened.
fn limit_hit(error: &Error, host: &Host) -> Option<(&'static str, String)> {
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return Some((hit.limit, hit.reason.clone()));
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::StackOverflow) {
        return Some(("stack", format!("the call stack is full, {} bytes allowed", host.stack_bytes_max)));
    }
    let cause = error.root_cause().to_string();
    if cause.starts_with(TOO_MUCH) {
        let reason = format!("one request handed more than the {} bytes allowed to the host", host.request_bytes_max);
        return Some(("request", reason));
    }
    let what = cause.strip_prefix(TOO_MANY)?;
    match what.split(' ').next() {
        Some("instance") => Some(("instances", cause)),
        Some("table") => Some(("tables", cause)),
        _ => None,
    }
}

/// How the guest ended itself, if it did; nothing for the usual way, an instruction that cannot be executed.
fn gave_up(error: &Error) -> Option<String> {
    if error.downcast_ref::<Trap>() == Some(&Trap::UnreachableCodeReached) {
        return Some(String::new());
    }
    let I32Exit(status) = error.downcast_ref::<I32Exit>()?;
    (*status != 0).then(|| format!(" (it exited with status {status})"))
}

fn reason(error: &Error) -> String {
    match (error.downcast_ref::<Trap>(), error.downcast_ref::<I32Exit>()) {
        (Some(trap), _) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        (None, Some(I32Exit(status))) => format!("it exited with status {status}"),
        (None, None) => error.root_cause().to_string(),
    }
}

fn with_words(reason: String, words: Option<&str>) -> String {
    match words {
        Some(words) => format!("{reason}; its last words: {words}"),
        None => reason,
    }
}

/// What the guest said before its end: on one line, without the hints that a terminal would get.
fn last_words(log: &OperatorLog) -> Option<String> {
    let words = log.last_words();
    let lines: Vec<&str> = words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE"))
        .collect();
    let text = lines.join(" ");
    (!text.is_empty()).then(|| cut(&text, WORDS_BYTES_MAX).to_owned())
}

/// The guest's frames, innermost first: functions by name, with file and line where the module has debug information.
fn backtrace(error: &Error) -> Option<String> {
    let frames = error.downcast_ref::<WasmBacktrace>()?.frames();
    let mut text = String::new();
    let mut number = 0;
    for frame in frames {
        if frame.symbols().is_empty() {
            line(&mut text, &mut number, frame.func_name(), None);
        }
        for symbol in frame.symbols() {
            let place = symbol.file().map(|file| (file, symbol.line()));
            line(&mut text, &mut number, symbol.name().or_else(|| frame.func_name()), place);
        }
        if number >= FRAMES_MAX {
            break;
        }
    }
    (!text.is_empty()).then_some(text)
}

fn line(text: &mut String, number: &mut usize, function: Option<&str>, place: Option<(&str, Option<u32>)>) {
    if *number > 0 {
        text.push('\n');
    }
    let _ = match function {
        Some(name) => write!(text, "{number:>4}: {:#}", rustc_demangle::demangle(name)),
        None => write!(text, "{number:>4}: <unknown>"),
    };
    if let Some((file, at)) = place {
        let _ = write!(text, " at {file}:{}", at.unwrap_or(0));
    }
    *number += 1;
}
