//! One connection: a pump per direction.

use std::collections::HashMap;
use std::io::{self, BufReader, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::frame::{self, ApiKey, Direction, Message};
use crate::rule::Action;
use crate::shared::Shared;

/// How long the broker's side stays open after the client's is gone, for answers that are still to come. A produce
/// request without acknowledgement never gets one.
const ANSWERS_TIMEOUT: Duration = Duration::from_secs(5);

/// No rule is waited for longer than any test runs.
const FOREVER: Duration = Duration::from_secs(24 * 3600);

#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    number: u64,
    /// Requests without an answer yet, by correlation id.
    open: Arc<Mutex<HashMap<i32, Asked>>>,
}

#[derive(Clone)]
struct Asked {
    api_key: ApiKey,
    api_version: i16,
    client_id: String,
}

/// Takes over a client's connection; returns at once.
pub(crate) fn serve(shared: &Arc<Shared>, client: TcpStream, upstream: TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    upstream.set_nodelay(true)?;
    let registered =
        shared.change(|state| -> io::Result<_> { Ok(state.connect(client.try_clone()?, upstream.try_clone()?)) })?;
    let Some(number) = registered else {
        return Ok(());
    };
    let connection = Connection { shared: Arc::clone(shared), number, open: Arc::default() };
    let answers = {
        let (connection, client, upstream) = (connection.clone(), client.try_clone()?, upstream.try_clone()?);
        move || connection.pump_responses(upstream, client)
    };
    std::thread::Builder::new().name(format!("proxy {number} <-")).spawn(answers)?;
    let requests = move || connection.pump_requests(client, upstream);
    std::thread::Builder::new().name(format!("proxy {number} ->")).spawn(requests)?;
    Ok(())
}

impl Connection {
    fn pump_requests(&self, client: TcpStream, mut upstream: TcpStream) {
        let mut from = BufReader::with_capacity(64 * 1024, client);
        while let Ok(Some(message)) = frame::read(&mut from).and_then(|bytes| bytes.map(frame::request).transpose()) {
            let asked = Asked {
                api_key: message.api_key,
                api_version: message.api_version,
                client_id: message.client_id.clone(),
            };
            self.open().insert(message.correlation_id, asked);
            if !self.pass(&message) {
                self.open().remove(&message.correlation_id);
                continue;
            }
            if upstream.write_all(&frame::with_length(&message.bytes)).is_err() {
                break;
            }
        }
        // The client is gone, but what it sent is under way: let the broker answer before it learns of it.
        drop(
            self.shared.wait("open requests", ANSWERS_TIMEOUT, |state| {
                (state.stopped || self.open().is_empty()).then_some(())
            }),
        );
        drop(upstream.shutdown(Shutdown::Both));
        self.shared.change(|state| state.disconnect(self.number));
    }

    fn pump_responses(&self, upstream: TcpStream, mut client: TcpStream) {
        let mut from = BufReader::with_capacity(64 * 1024, upstream);
        while let Ok(Some(bytes)) = frame::read(&mut from) {
            let Ok(correlation_id) = frame::correlation_id(&bytes) else {
                break;
            };
            let asked = self.open().get(&correlation_id).cloned();
            let Some(asked) = asked else {
                break;
            };
            let message = Message {
                direction: Direction::Response,
                api_key: asked.api_key,
                api_version: asked.api_version,
                correlation_id,
                client_id: asked.client_id,
                bytes,
            };
            if self.pass(&message) {
                // A client that was cut off gets nothing, and the broker must not notice.
                drop(client.write_all(&frame::with_length(&message.bytes)));
            }
            self.shared.change(|_| self.open().remove(&correlation_id));
        }
        drop(client.shutdown(Shutdown::Both));
    }

    /// Counts the message and does to it what the rules say; whether it is to be sent on.
    fn pass(&self, message: &Message) -> bool {
        let verdict = self.shared.change(|state| state.judge(self.number, message));
        match verdict.action {
            Action::Pass => true,
            Action::Lose => false,
            Action::Hold => {
                let released = |state: &crate::shared::State| state.released(verdict.rule).then_some(());
                self.shared.wait("a release", FOREVER, released).is_ok()
            }
            Action::Delay(time) => {
                drop(self.shared.wait("a delay", time, |state| state.stopped.then_some(())));
                true
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<i32, Asked>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
