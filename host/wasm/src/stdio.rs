//! Standard output and standard error of a guest: lines of its operator's log.

use crate::log::{OperatorLog, Stream};
use bytes::Bytes;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Bytes that became no line yet.
#[derive(Debug, Default)]
pub(crate) struct LineBuffer {
    rest: Vec<u8>,
}

impl LineBuffer {
    /// Takes bytes and returns the lines they complete. A line longer than `line_bytes_max` is cut there.
    pub(crate) fn push(&mut self, bytes: &[u8], line_bytes_max: usize) -> Vec<String> {
        let mut lines = Vec::new();
        let mut parts = bytes.split(|&byte| byte == b'\n').peekable();
        while let Some(part) = parts.next() {
            let room = line_bytes_max.saturating_sub(self.rest.len());
            self.rest.extend_from_slice(part.get(..room).unwrap_or(part));
            if parts.peek().is_some() {
                lines.extend(self.finish().or_else(|| Some(String::new())));
            }
        }
        lines
    }

    /// The unfinished line, if there is one.
    pub(crate) fn finish(&mut self) -> Option<String> {
        if self.rest.is_empty() {
            return None;
        }
        let line = String::from_utf8_lossy(&self.rest).into_owned();
        self.rest.clear();
        Some(line)
    }
}

/// A standard stream that ends in the operator's log. Always ready, so that no write ever waits.
#[derive(Clone)]
pub(crate) struct LogStream {
    pub(crate) log: Arc<OperatorLog>,
    pub(crate) stream: Stream,
}

/// Bytes that a guest may write at once.
const PERMIT_BYTES: usize = 64 << 10;

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.log.stream(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMIT_BYTES)
    }
}

#[async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl tokio::io::AsyncWrite for LogStream {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.log.stream(self.stream, bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::LineBuffer;

    #[test]
    fn lines_are_whole_however_they_arrive() {
        for cut in 1..12 {
            let mut buffer = LineBuffer::default();
            let mut lines = Vec::new();
            for part in b"one\n\ntwo\nrest".chunks(cut) {
                lines.extend(buffer.push(part, 100));
            }
            assert_eq!(lines, ["one", "", "two"], "in parts of {cut}");
            assert_eq!(buffer.finish().as_deref(), Some("rest"));
            assert_eq!(buffer.finish(), None);
        }
    }

    #[test]
    fn a_line_without_end_does_not_grow_beyond_its_limit() {
        let mut buffer = LineBuffer::default();
        for _ in 0..1_000 {
            assert!(buffer.push(b"abc", 10).is_empty());
        }
        assert_eq!(buffer.push(b"\n", 10), ["abcabcabca"]);
    }
}
