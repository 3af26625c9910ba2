//! The rules, applied to this repository.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use millstream_tidy::{Finding, Tree, alone, contract, docs, honest, layers, readme, size};

fn tree() -> Tree {
    let tree = Tree::tracked(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).unwrap();
    // An empty tree breaks no rule.
    assert!(tree.members().count() > 5 && tree.has("host/engine/src/lib.rs"), "this is not the repository");
    tree
}

#[track_caller]
fn assert_none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn crates_use_only_the_layers_below_them() {
    assert_none(&layers::check(&tree()));
}

#[test]
fn files_functions_and_constructors_are_small() {
    let tree = tree();
    for (path, lines) in size::large(&tree) {
        eprintln!("note: {path} has {lines} lines");
    }
    assert_none(&size::check(&tree));
}

#[test]
fn each_crate_opens_with_its_page() {
    assert_none(&readme::check(&tree()));
}

#[test]
fn the_repository_stands_alone() {
    assert_none(&alone::check(&tree()));
}

#[test]
fn nothing_is_ignored_or_left_to_do() {
    assert_none(&honest::check(&tree()));
}

#[test]
fn every_item_of_the_contract_is_documented() {
    assert_none(&contract::check_documented(&tree()));
}

#[test]
fn a_word_count_stays_under_25_lines() {
    assert_none(&contract::check_word_count(&tree()));
}

#[test]
fn links_lead_somewhere() {
    assert_none(&docs::check_links(&tree()));
}

#[test]
fn decisions_are_numbered_and_listed() {
    assert_none(&docs::check_decisions(&tree()));
}

#[test]
fn decisions_that_are_cited_are_there() {
    assert_none(&docs::check_citations(&tree()));
}
