//! The pages for users know every verb, flag and field, and no other.

use crate::place::{Place, commands};
use serde_json::Value;
use std::collections::BTreeSet;

fn page(name: &str) -> String {
    std::fs::read_to_string(format!("{}/../../docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The text below a heading, up to the next one.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let start = page.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading}"));
    let text = &page[start + heading.len() + 2..];
    &text[..text.find("\n## ").unwrap_or(text.len())]
}

/// Names in the first column of a section's tables.
fn rows(section: &str) -> BTreeSet<String> {
    let cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    cells.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn every_field_of_the_pipeline_file_has_its_row() {
    let schema: Value = serde_json::from_str(&Place::new().run("schema").stdout).unwrap();
    let page = page("pipeline-file.md");
    let sections = [
        ("", "## The whole"),
        ("Source", "## `sources`"),
        ("TimestampAt", "## `sources.<id>.timestamp`"),
        ("Watermark", "## `sources.<id>.watermark`"),
        ("Nexmark", "## `sources.<id>.nexmark`"),
        ("Operator", "## `operators`"),
        ("Limits", "## `operators.<id>.limits`"),
        ("Declare", "## `operators.<id>.declare`"),
        ("Sink", "## `sinks`"),
        ("DeadLetters", "## `dead_letters`"),
        ("Create", "## `create`"),
        ("Commit", "## `commit`"),
        ("State", "## `state`"),
        ("Checkpoint", "## `checkpoint`"),
        ("Batch", "## `batch`"),
        ("Test", "## `tests`"),
        ("TestRecord", "## Records of tests"),
    ];
    let defined = schema["$defs"].as_object().unwrap();
    for (name, definition) in defined.iter().filter(|(_, definition)| definition.get("properties").is_some()) {
        assert!(sections.iter().any(|(known, _)| known == name), "no section for {name}: {definition}");
    }
    for (name, heading) in sections {
        let definition = if name.is_empty() { &schema } else { &defined[name] };
        let fields: BTreeSet<String> = definition["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(rows(section(&page, heading)), fields, "{heading}");
    }
}

#[test]
fn every_verb_and_flag_has_its_place() {
    let (place, page) = (Place::new(), page("cli.md"));
    for verb in place.verbs() {
        let help = place.run(&format!("{verb} --help"));
        assert_eq!(help.code, 0, "{verb}");
        let text = section(&page, &format!("## `millstream {verb}`"));
        let mut known: BTreeSet<String> = rows(text);
        let mut flags = flags(&help.stdout);
        for inner in commands(&help.stdout) {
            assert!(text.contains(&format!("`{verb} {inner}")), "{verb} {inner}");
            flags.extend(self::flags(&place.run(&format!("{verb} {inner} --help")).stdout));
        }
        for common in ["--id", "--state-dir", "--output"] {
            if flags.remove(common) {
                assert!(text.contains(common) || text.contains("[common]"), "{verb}: {common}");
            }
            known.remove(common);
        }
        assert_eq!(known, flags, "{verb}");
    }
}

/// Long flags of a help text, but for those that every verb has.
fn flags(help: &str) -> BTreeSet<String> {
    let words = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    let flag = |line: &str| {
        let start = line.find("--")?;
        let name = line.get(start..)?.split(|end: char| !(end.is_ascii_alphanumeric() || end == '-')).next()?;
        Some(name.to_owned())
    };
    words.filter_map(flag).filter(|flag| !["--help", "--version", "--log"].contains(&flag.as_str())).collect()
}
