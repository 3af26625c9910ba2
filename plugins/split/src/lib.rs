//! `split`: emits every word of a text as a record of its own, with the word as key and as value.
//!
//! Words are separated by white space and are told apart as they are written; with `lowercase: true` they are not. A tombstone has
//! no words.

use millstream_sdk::{Context, Operator, Output, Record, Result, Setup, export_operators};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default)]
    lowercase: bool,
}

struct Split {
    lowercase: bool,
    words: Output,
}

impl Operator for Split {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { lowercase } = setup.config()?;
        Ok(Self {
            lowercase,
            words: setup.output("words"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        if record.value().is_none() {
            return Ok(());
        }
        for word in record.text()?.split_whitespace() {
            if self.lowercase {
                let word = word.to_lowercase();
                ctx.emit_keyed(self.words, word.as_bytes(), word.as_bytes());
            } else {
                ctx.emit_keyed(self.words, word.as_bytes(), word.as_bytes());
            }
        }
        Ok(())
    }
}

export_operators! { "split": Split }
