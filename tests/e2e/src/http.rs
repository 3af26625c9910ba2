//! HTTP as somebody speaks it who does not keep to the rules: any head, any body, over the door's port.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The door of a running pipeline.
#[derive(Debug, Clone)]
pub struct Door {
    /// Address and port.
    pub address: String,
    /// What opens it.
    pub token: String,
}

/// A request; its head is written as it is.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Method and path, like `GET /livez`.
    pub line: String,
    /// Headers in order; `Content-Length` and `Connection` are added.
    pub headers: Vec<(String, String)>,
    /// What follows.
    pub body: Vec<u8>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body, as JSON; null if it is none.
    pub body: Value,
}

impl Answer {
    /// The last part of the problem's type.
    #[must_use]
    pub fn problem(&self) -> &str {
        let kind = self.body.get("type").and_then(Value::as_str).unwrap_or_default();
        kind.trim_start_matches("urn:millstream:problem:")
    }
}

impl Request {
    /// With these headers.
    #[must_use]
    pub fn new(line: &str, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { line: line.to_owned(), headers: headers.collect(), body: Vec::new() }
    }

    /// With a body.
    #[must_use]
    pub fn with(mut self, media_type: &str, body: impl Into<Vec<u8>>) -> Self {
        self.headers.push(("Content-Type".to_owned(), media_type.to_owned()));
        self.body = body.into();
        self
    }
}

impl Door {
    /// As the files in a state directory tell it.
    ///
    /// # Errors
    /// If they are not there.
    pub fn of(state: &Path) -> Result<Self> {
        let sign: Value = serde_json::from_slice(&std::fs::read(state.join("api.json"))?)?;
        let url = sign.get("url").and_then(Value::as_str).context("api.json has no url")?;
        let address = url.trim_start_matches("http://").to_owned();
        Ok(Self { address, token: std::fs::read_to_string(state.join("token"))? })
    }

    /// Sends a request as it is.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn send(&self, request: &Request) -> Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut head = format!("{} HTTP/1.1\r\nConnection: close\r\n", request.line);
        for (name, value) in &request.headers {
            head += &format!("{name}: {value}\r\n");
        }
        if !request.line.starts_with("GET") {
            head += &format!("Content-Length: {}\r\n", request.body.len());
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        // A door that refuses early does not read it all.
        let _ = stream.write_all(&request.body);
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer: {read:?}"))?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).context("no status")?;
        let body = serde_json::from_str(&unchunked(head, body)).unwrap_or_default();
        Ok(Answer { status, head: head.to_owned(), body })
    }

    /// Asks as who may.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn ask(&self, line: &str) -> Result<Answer> {
        self.send(&self.request(line))
    }

    /// A request of who may.
    #[must_use]
    pub fn request(&self, line: &str) -> Request {
        Request::new(line, &[("Host", &self.address), ("Authorization", &format!("Bearer {}", self.token))])
    }
}

/// The body without the lengths of its chunks.
fn unchunked(head: &str, body: &str) -> String {
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return body.to_owned();
    }
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).unwrap_or(0);
        let Some((chunk, next)) = after.split_at_checked(length).filter(|_| length > 0) else { break };
        whole += chunk;
        rest = next.trim_start_matches("\r\n");
    }
    whole
}
