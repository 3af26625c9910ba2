//! What a failed call means: the runtime's errors, told apart.

use crate::host::GuestFault;
use crate::limits::{LimitHit, STACK_BYTES_MAX};
use crate::log::{OperatorLog, cut};
use crate::simple::StopRequest;
use millstream_engine::ports::CallError;
use std::fmt::Write;
use wasmtime::{Error, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// Frames of a backtrace that are kept.
const FRAMES_MAX: usize = 32;

/// Bytes of a panic's text that are kept.
const PANIC_BYTES_MAX: usize = 512;

/// The error of a call that did not return. The instance is not to be used again.
pub(crate) fn call_error(error: &Error, log: &OperatorLog, limit_ms: u64) -> CallError {
    if let Some(GuestFault(fault)) = error.downcast_ref::<GuestFault>() {
        return match CallError::from(fault.clone()) {
            CallError::Trap { reason, .. } => CallError::Trap { reason, backtrace: backtrace(error) },
            other => other,
        };
    }
    if let Some(StopRequest(reason)) = error.downcast_ref::<StopRequest>() {
        return CallError::Stop(reason.clone());
    }
    if let Some(hit) = error.downcast_ref::<LimitHit>() {
        return CallError::Limit { limit: hit.limit, reason: hit.reason.clone() };
    }
    if error.downcast_ref::<Trap>() == Some(&Trap::Interrupt) {
        return CallError::Timeout { limit_ms };
    }
    CallError::Trap { reason: reason(error, log), backtrace: backtrace(error) }
}

/// What went wrong outside of `process`, where there is no record to blame.
pub(crate) fn describe(error: &Error, log: &OperatorLog, limit_ms: u64) -> String {
    match call_error(error, log, limit_ms) {
        CallError::Timeout { limit_ms } => format!("it took longer than {limit_ms} ms"),
        other => other.to_string(),
    }
}

fn reason(error: &Error, log: &OperatorLog) -> String {
    let trap = match error.downcast_ref::<Trap>() {
        Some(Trap::StackOverflow) => format!("the call stack is full ({} KiB)", STACK_BYTES_MAX >> 10),
        Some(trap) => trap.to_string().trim_start_matches("wasm trap: ").to_owned(),
        None => match error.downcast_ref::<I32Exit>() {
            Some(I32Exit(status)) => format!("it exited with status {status}"),
            None => error.root_cause().to_string(),
        },
    };
    match panic_text(&log.last_words()) {
        Some(text) => format!("{text} ({trap})"),
        None => trap,
    }
}

/// What the guest said before it trapped: on one line, without the hints that a terminal would get.
fn panic_text(last_words: &str) -> Option<String> {
    let lines: Vec<&str> = last_words
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("note: run with `RUST_BACKTRACE"))
        .collect();
    let text = lines.join(" ");
    (!text.is_empty()).then(|| cut(&text, PANIC_BYTES_MAX).to_owned())
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
