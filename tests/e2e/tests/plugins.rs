//! The operators that ship with Millstream, each through the host: module, engine and state are the real ones.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use anyhow::Result;
use millstream_e2e::{Workplace, plugin};

/// Each plugin has a pipeline with tests beside it.
#[test]
fn every_plugin_passes_the_tests_of_its_pipeline() -> Result<()> {
    let plugins = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../plugins").canonicalize()?;
    let mut tested = Vec::new();
    for entry in std::fs::read_dir(&plugins)? {
        let folder = entry?.path();
        if !folder.join("Cargo.toml").is_file() {
            continue;
        }
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        assert!(plugin(&name).is_file(), "{name} was not built: make plugins");
        let pipeline = folder.join("pipeline.yaml").display().to_string();
        let workplace = Workplace::new()?;
        workplace.command(&["validate", "--offline", &pipeline])?.expect_code(0)?;
        let exit = workplace.command(&["test", &pipeline])?.expect_code(0)?;
        let passed = exit.stdout.lines().filter(|line| line.starts_with("pass ")).count();
        assert!(passed > 0 && passed == exit.stdout.lines().count(), "{name}: {}", exit.stdout);
        // A test that is wrong has to show.
        let wrong = std::fs::read_to_string(&pipeline)?.replace("../dist/", &format!("{}/dist/", plugins.display()));
        let wrong =
            workplace.write("pipeline.yaml", wrong.replacen("      - { key: ann,", "      - { key: bob,", 1))?;
        let exit = workplace.command(&["test", &wrong.display().to_string()])?;
        assert_eq!(exit.code, Some(1), "{name}: {}", exit.stdout);
        tested.push(name);
    }
    tested.sort();
    assert_eq!(
        tested,
        [
            "count",
            "count-simple",
            "deduplicate",
            "even-sum",
            "filter-json",
            "split",
            "sum-by-key",
            "tally",
            "top-n",
            "window-tally"
        ]
    );
    Ok(())
}
