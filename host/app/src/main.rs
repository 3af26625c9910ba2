#![doc = include_str!("../README.md")]

mod cli;
mod compose;
mod config;
mod control_socket;
mod error;
mod faults;
mod graph;
mod history;
mod in_memory;
mod metrics;
mod paths;
mod preflight;
mod progress;
mod signals;
mod store;
mod verbs;

use clap::Parser;
use cli::{Cli, LogFormat, Verb};
use error::Outcome;
use std::io::IsTerminal;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log(cli.log, matches!(cli.verb, Verb::Run(_)));
    match faults::arm().and_then(|_armed| dispatch(cli.verb)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            anstream::eprintln!("error: {}", failure.text);
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch(verb: Verb) -> Outcome<()> {
    match verb {
        Verb::Run(run) => verbs::run::run(&run),
        Verb::Validate(validate) => verbs::validate::validate(&validate),
        Verb::Inspect(inspect) => verbs::inspect::inspect(&inspect),
        Verb::New(new) => verbs::new::new(&new),
        Verb::Build(build) => verbs::build::build(&build),
        Verb::Test(test) => verbs::test::test(&test),
        Verb::Plugin(plugin) => verbs::plugin::plugin(plugin),
        Verb::Status(reading) => verbs::status::status(&reading),
        Verb::Savepoint(reading) => verbs::status::savepoint(&reading),
        Verb::Verify(reading) => verbs::verify::verify(&reading),
        Verb::State(state) => verbs::state::state(&state),
        Verb::Reset(reset) => verbs::reset::reset(&reset),
        Verb::Checkpoint(checkpoint) => verbs::checkpoint::checkpoint(checkpoint),
        Verb::Completions { shell } => verbs::completions(shell),
        Verb::Schema => verbs::schema(),
    }
}

/// A running pipeline logs as JSON where nobody watches; other verbs only say what is wrong.
fn start_log(format: Option<LogFormat>, is_run: bool) {
    let is_watched = std::io::stderr().is_terminal();
    let usual = if is_run { "info" } else { "warn" };
    let filter = tracing_subscriber::EnvFilter::try_from_env("MILLSTREAM_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format.unwrap_or(if is_watched || !is_run { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Json => log.json().init(),
        LogFormat::Text => log.with_ansi(is_watched).with_target(false).init(),
    }
}
