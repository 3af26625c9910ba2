//! `top-n`: counts the values of each key and emits its most frequent ones, as a JSON list of `[value, count]`, whenever these change.
//!
//! `n` says how many (by default 10). Of values with the same count the one that is higher in byte order comes first. Two maps hold the state, counts by value and values by
//! count, so that a record costs the same whether a key has ten values or ten million.

use millstream_sdk::{Context, Map, Operator, Output, Record, Result, Setup, Value, export_operators, stop};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    #[serde(default = "ten")]
    n: usize,
}

fn ten() -> usize {
    10
}

struct TopN {
    n: usize,
    counts: Map<String, u64>,
    ranks: Map<(u64, String), ()>,
    /// What was emitted last.
    last: Value<Vec<u8>>,
    top: Output,
}

impl Operator for TopN {
    fn open(setup: &mut Setup) -> Result<Self> {
        let Config { n } = setup.config()?;
        if n == 0 {
            return Err(stop("config: n must be above 0"));
        }
        Ok(Self {
            n,
            counts: setup.map("counts"),
            ranks: setup.map("ranks"),
            last: setup.value("last"),
            top: setup.output("top"),
        })
    }

    fn process(&self, record: &Record, ctx: &mut Context) -> Result<()> {
        let value = record.text()?.to_owned();
        let before = self.counts.get(ctx, &value)?.unwrap_or(0);
        let count = before + 1;
        self.counts.put(ctx, &value, &count);
        if before > 0 {
            self.ranks.remove(ctx, &(before, value.clone()));
        }
        self.ranks.put(ctx, &(count, value), &());
        let highest = self.ranks.iter(ctx).rev().take(self.n);
        let top = highest.map(|entry| entry.map(|((count, value), ())| (value, count))).collect::<Result<Vec<_>>>()?;
        let top = serde_json::to_vec(&top)?;
        if self.last.bytes(ctx) != Some(top.as_slice()) {
            self.last.set(ctx, &top);
            ctx.emit(self.top, &top);
        }
        Ok(())
    }
}

export_operators! { "top-n": TopN }

#[cfg(test)]
mod tests {
    use super::*;
    use millstream_sdk::harness::Harness;

    #[test]
    fn the_most_frequent_values_are_emitted_when_they_change() {
        let mut words = Harness::<TopN>::new(r#"{"n": 2}"#);
        for word in ["to", "be", "or", "not", "to", "be", "or", "or", "not"] {
            words.push("hamlet", word);
        }
        words.restart().push("lear", "nothing");
        assert_eq!(
            words.outputs("top"),
            [
                ("hamlet", r#"[["to",1]]"#),
                ("hamlet", r#"[["to",1],["be",1]]"#),
                ("hamlet", r#"[["to",1],["or",1]]"#),
                ("hamlet", r#"[["to",2],["or",1]]"#),
                ("hamlet", r#"[["to",2],["be",2]]"#),
                ("hamlet", r#"[["to",2],["or",2]]"#),
                ("hamlet", r#"[["or",3],["to",2]]"#),
                ("lear", r#"[["nothing",1]]"#),
            ]
        );
        let counts = words.entries::<String, u64>("counts", "hamlet");
        assert_eq!(counts, [("be", 2), ("not", 2), ("or", 3), ("to", 2)].map(|(word, count)| (word.to_owned(), count)));
        assert_eq!(words.entries::<(u64, String), ()>("ranks", "hamlet").len(), 4);
    }

    #[test]
    fn a_top_of_nothing_is_refused() {
        assert!(Harness::<TopN>::open(r#"{"n": 0}"#).is_err_and(|refused| refused.contains("n must be above 0")));
    }
}
