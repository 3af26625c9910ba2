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
        Ok(Self { lowercase, words: setup.output("words") })
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

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::harness::{Harness, Message};

    #[test]
    fn every_word_is_a_record_under_itself() {
        let mut split = Harness::<Split>::new("{}");
        split.push_at(5, "line", " to be\tor not\nto be ").push("line", "");
        let words = split.outputs("words");
        let expected = ["to", "be", "or", "not", "to", "be"].map(|word| (word, word));
        assert_eq!(words, expected);
        assert!(words.iter().all(|word| word.timestamp_ms == 5));
    }

    #[test]
    fn case_counts_unless_told_otherwise() {
        let mut split = Harness::<Split>::new("{}");
        split.push("line", "To to");
        assert_eq!(split.outputs("words"), [("To", "To"), ("to", "to")]);
        let mut split = Harness::<Split>::new(r#"{"lowercase": true}"#);
        split.push("line", "To ÉTÉ");
        assert_eq!(split.outputs("words"), [("to", "to"), ("été", "été")]);
    }

    #[test]
    fn headers_of_the_line_go_with_its_words() {
        let mut split = Harness::<Split>::new("{}");
        split.push_message(Message::unkeyed("a b").header("trace", "t1"));
        let words = split.outputs("words");
        assert!(words.iter().all(|word| word.headers == [("trace".into(), Some(b"t1".to_vec()))]));
        assert_eq!(words.len(), 2);
    }

    #[test]
    fn tombstones_have_no_words_and_what_is_no_text_is_rejected() {
        let mut split = Harness::<Split>::new("{}");
        split.push_message(Message::tombstone("line")).push("line", [0xff]).push("line", "on");
        assert_eq!(split.outputs("words"), [("on", "on")]);
        assert_eq!(split.rejected().len(), 1);
    }

    #[test]
    fn a_misspelt_setting_is_refused() {
        let error = Harness::<Split>::open(r#"{"lower_case": true}"#).err();
        assert!(error.is_some_and(|error| error.contains("lower_case")));
    }
}
