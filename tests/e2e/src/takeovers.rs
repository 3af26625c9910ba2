//! Whether a store outlives its processes.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::Workplace;

/// What a process logs once it has the pipeline.
pub(crate) const TAKEN: &str = "took the pipeline over";

/// The name `RocksDB` gives a database when it is made: another one means another database.
#[derive(Debug, Default)]
pub struct StoreIdentity(Option<String>);

impl StoreIdentity {
    /// Looks at the store in a state directory; to be called between two runs.
    ///
    /// # Errors
    /// If there was a store and it is another one now, or none.
    pub fn check(&mut self, state_dir: &Path) -> Result<()> {
        let now = std::fs::read_to_string(state_dir.join("db/IDENTITY")).ok();
        if self.0.is_some() && self.0 != now {
            bail!("the store in {} was {:?} and is {now:?}: it was wiped", state_dir.display(), self.0);
        }
        self.0 = now;
        Ok(())
    }
}

/// Goes through the logs of all runs in a workplace and gives how many of them took the pipeline over. A store is empty at the first start; each later run goes
/// on with what is there: at the newest commit, or brought forward from the changelog.
///
/// # Errors
/// If a run emptied its store, or began without one.
pub fn check_takeovers(workplace: &Workplace) -> Result<usize> {
    let (mut taken, mut has_store) = (0, false);
    for log in logs(workplace.path())? {
        let text = std::fs::read_to_string(&log)?;
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        for begin in events.filter_map(|event| begin(&event)) {
            taken += 1;
            match begin.as_str() {
                "Fresh" if !has_store => {}
                "Resume" | "RestoreForward" => has_store = true,
                _ => bail!("{}: the store was not gone on with: {begin}", log.display()),
            }
        }
    }
    Ok(taken)
}

/// How a run began, if this is the line that tells.
fn begin(event: &Value) -> Option<String> {
    let fields = event.get("fields")?;
    let is_it = fields.get("message").and_then(Value::as_str) == Some(TAKEN);
    is_it.then(|| fields.get("begin").and_then(Value::as_str).unwrap_or_default().to_owned())
}

/// In the order of the runs.
fn logs(folder: &Path) -> Result<Vec<PathBuf>> {
    let number = |path: &Path| -> Option<u32> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("run-")?.strip_suffix(".log")?.parse().ok()
    };
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        logs.extend(number(&path).map(|number| (number, path)));
    }
    logs.sort();
    Ok(logs.into_iter().map(|(_, path)| path).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn runs(begins: &[&str]) -> Result<usize> {
        let workplace = Workplace::new().unwrap();
        for (number, begin) in (1..).zip(begins) {
            let event = serde_json::json!({"fields": {"message": TAKEN, "begin": begin}});
            workplace.write(&format!("run-{number}.log"), format!("{{\"fields\":{{}}}}\nno json\n{event}\n")).unwrap();
        }
        check_takeovers(&workplace)
    }

    #[test]
    fn a_store_that_is_filled_anew_is_noticed() {
        let begins = ["Fresh", "Fresh", "Resume", "RestoreForward", "Resume", "Resume"];
        assert_eq!(runs(&begins).unwrap(), 6);
        assert!(runs(&["Fresh", "Resume", "RestoreEmpty"]).is_err());
        assert!(runs(&["Fresh", "Resume", "Fresh"]).is_err());
    }

    #[test]
    fn a_store_made_anew_is_noticed() {
        let workplace = Workplace::new().unwrap();
        let mut identity = StoreIdentity::default();
        identity.check(workplace.path()).unwrap();
        workplace.write("db/IDENTITY", "one").unwrap();
        identity.check(workplace.path()).unwrap();
        identity.check(workplace.path()).unwrap();
        workplace.write("db/IDENTITY", "other").unwrap();
        assert!(identity.check(workplace.path()).is_err());
    }
}
