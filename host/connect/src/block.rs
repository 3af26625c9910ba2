/// Bytes read and not yet taken as lines.
#[derive(Debug, Default)]
pub(crate) struct Block {
    bytes: Vec<u8>,
    from: usize,
    /// Whether nothing comes behind: what is left without a newline is a line.
    is_last: bool,
}

/// A line at the beginning of what is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Without its end.
    pub(crate) content: &'a [u8],
    /// As it is in the file, with its end.
    pub(crate) whole: &'a [u8],
}

impl Block {
    /// The next line, if all of it is there.
    pub(crate) fn line(&self) -> Option<Line<'_>> {
        let rest = self.rest();
        // Of everything in the standard library that searches a byte with vector instructions, this is what one may call.
        let length = std::io::BufRead::skip_until(&mut &rest[..], b'\n').unwrap_or(0);
        let whole = rest.get(..length)?;
        match whole.strip_suffix(b"\n") {
            Some(content) => Some(Line { content: content.strip_suffix(b"\r").unwrap_or(content), whole }),
            None => (self.is_last && !whole.is_empty()).then_some(Line { content: whole, whole }),
        }
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &[u8] {
        self.bytes.get(self.from..).unwrap_or_default()
    }

    /// Passes over bytes, those of a line.
    pub(crate) fn pass(&mut self, length: usize) {
        self.from += length;
    }

    /// Drops everything.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.from = 0;
        self.is_last = false;
    }

    /// Tells that nothing comes behind.
    pub(crate) fn finish(&mut self) {
        self.is_last = true;
    }

    /// Reads up to `length` bytes more and tells how many came; 0 at the end.
    pub(crate) fn read(&mut self, mut input: impl std::io::Read, length: usize) -> std::io::Result<usize> {
        let before = self.bytes.len();
        self.bytes.resize(before + length, 0);
        let room = self.bytes.get_mut(before..).unwrap_or_default();
        let count = loop {
            match input.read(room) {
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                result => break result,
            }
        };
        self.bytes.truncate(before + count.as_ref().copied().unwrap_or(0));
        count
    }

    /// Drops what is passed and appends bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.from.min(self.bytes.len()));
        self.from = 0;
        self.bytes.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn lines(block: &mut Block) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        while let Some(line) = block.line() {
            lines.push(line.content.to_vec());
            let length = line.whole.len();
            block.pass(length);
        }
        lines
    }

    #[test]
    fn one_carriage_return_belongs_to_the_end_of_a_line() {
        let mut block = Block::default();
        block.append(b"a\r\n\r\r\n\n\rb");
        assert_eq!(lines(&mut block), [&b"a"[..], b"\r", b""]);
        assert_eq!(block.rest(), b"\rb");
        block.finish();
        assert_eq!(lines(&mut block), [b"\rb"]);
        assert_eq!(block.line(), None);
    }

    proptest! {
        #[test]
        fn pieces_give_the_lines_of_the_whole(text in "[ab\r\n]{0,40}", cuts in prop::collection::vec(0usize..10, 0..20)) {
            let (mut block, mut rest, mut found) = (Block::default(), text.as_bytes(), Vec::new());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                block.append(piece);
                found.extend(lines(&mut block));
                rest = after;
            }
            let length = block.read(rest, 100).unwrap();
            prop_assert_eq!(length, rest.len());
            block.finish();
            found.extend(lines(&mut block));
            let expected: Vec<Vec<u8>> = text.split_inclusive('\n').map(|line| {
                let line = line.strip_suffix("\r\n").or(line.strip_suffix('\n')).unwrap_or(line);
                line.as_bytes().to_vec()
            }).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
