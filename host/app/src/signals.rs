use crate::error::{Failure, Outcome};
use millstream_engine::run::Control;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::sync::Arc;

/// What a shell shows for a process that a second SIGINT ended.
const INTERRUPTED: i32 = 130;

/// The first SIGTERM or SIGINT drains the run, the second ends the process where it stands, which loses nothing either.
pub(crate) fn drain_on_signals(control: &Arc<Control>) -> Outcome<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Failure::failed)?;
    let control = Arc::clone(control);
    let listen = move || {
        for _ in signals.forever() {
            if control.is_draining() {
                std::process::exit(INTERRUPTED);
            }
            tracing::info!("draining; a second signal ends at once");
            control.drain();
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(listen).map_err(Failure::failed)?;
    Ok(())
}
