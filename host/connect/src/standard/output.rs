use crate::format::encode;
use crate::{Error, SinkFormat};
use millstream_engine::ports::{Sink, SinkError};
use millstream_model::record::RecordBatch;
use std::io::Write;

/// Lines on standard output, an epoch at a time: they are shown when the epoch is about to be committed. If the commit fails they come once more.
pub struct StdoutSink {
    sink_id: String,
    format: SinkFormat,
    output: Box<dyn Write + Send>,
    lines: Vec<u8>,
}

impl StdoutSink {
    /// A sink that writes to this process's standard output.
    #[must_use]
    pub fn new(sink_id: &str, format: SinkFormat) -> Self {
        Self::writing_to(sink_id, format, Box::new(std::io::stdout()))
    }

    /// A sink that writes somewhere else, in tests or beside a display.
    #[must_use]
    pub fn writing_to(sink_id: &str, format: SinkFormat, output: Box<dyn Write + Send>) -> Self {
        Self { sink_id: sink_id.to_owned(), format, output, lines: Vec::new() }
    }
}

impl Sink for StdoutSink {
    fn write(&mut self, batch: &RecordBatch) -> Result<(), SinkError> {
        encode(self.format, batch, &mut self.lines).map_err(|error| error.of_sink(&self.sink_id))
    }

    fn prepare(&mut self) -> Result<u64, SinkError> {
        let written = self.output.write_all(&self.lines).and_then(|()| self.output.flush());
        self.lines.clear();
        let failed = |reason: std::io::Error| Error::Standard { stream: "output", reason: reason.to_string() };
        written.map_err(|reason| failed(reason).of_sink(&self.sink_id))?;
        // There is no length to go back to.
        Ok(0)
    }

    fn recover(&mut self, _committed_length: u64) -> Result<(), SinkError> {
        self.lines.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use millstream_model::record::Origin;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Screen(Arc<Mutex<Vec<u8>>>);

    impl Write for Screen {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn batch(value: &str) -> RecordBatch {
        let mut batch = RecordBatch::default();
        batch.push(None, Some(value.as_bytes()), 0, Origin::default());
        batch
    }

    #[test]
    fn lines_are_shown_when_the_epoch_is_about_to_be_committed_and_dropped_ones_never() {
        let screen = Screen::default();
        let mut sink = StdoutSink::writing_to("out", SinkFormat::Lines, Box::new(screen.clone()));
        let shown = || String::from_utf8(screen.0.lock().unwrap().clone()).unwrap();
        sink.write(&batch("dropped")).unwrap();
        sink.recover(0).unwrap();
        sink.write(&batch("one")).unwrap();
        sink.write(&batch("two")).unwrap();
        assert_eq!(shown(), "");
        assert_eq!(sink.prepare().unwrap(), 0);
        assert_eq!(shown(), "one\ntwo\n");
    }

    #[test]
    fn a_closed_output_is_named() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut sink = StdoutSink::writing_to("out", SinkFormat::Lines, Box::new(Closed));
        sink.write(&batch("one")).unwrap();
        assert_eq!(sink.prepare().unwrap_err().to_string(), "sink `out`: standard output failed: broken pipe");
    }
}
