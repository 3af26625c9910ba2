use super::asked;
use crate::api::{Asked, Body};
use crate::cli::{Format, Reading};
use crate::error::{Failure, Outcome};
use comfy_table::Table;
use serde_json::Value;

/// `millstream status`.
pub(crate) fn status(reading: &Reading) -> Outcome<()> {
    let status = asked(reading, Asked::get("/status"))?;
    if reading.output == Format::Json {
        return super::print_json(&status);
    }
    let text = |pointer: &str| match status.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    };
    anstream::println!(
        "{}: {}, {} commits, {} rollbacks, the last commit {} took {} ms",
        text("/id"),
        if status.get("paused") == Some(&Value::Bool(true)) { "paused".to_owned() } else { text("/phase") },
        text("/commits"),
        text("/rollbacks"),
        text("/token"),
        text("/duration_ms")
    );
    for (kind, columns) in [
        ("sources", &["records", "bytes", "lag"][..]),
        ("operators", &["generation", "records_in", "records_out", "refused", "dropped", "busy_ms", "state_bytes"][..]),
        ("sinks", &["records"][..]),
    ] {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        table.set_header(std::iter::once(kind).chain(columns.iter().copied()));
        let rows = status.get(kind).and_then(Value::as_object);
        for (id, row) in rows.into_iter().flatten() {
            let cell = |column: &&str| row.get(*column).map(ToString::to_string).unwrap_or_default();
            table.add_row(std::iter::once(id.clone()).chain(columns.iter().map(cell)));
        }
        anstream::println!("{table}");
    }
    for (id, operator) in status.get("operators").and_then(Value::as_object).into_iter().flatten() {
        show_version(id, operator);
    }
    Ok(())
}

/// What is worth a line of an operator's version: one that is not the first, and what happened last.
fn show_version(id: &str, operator: &Value) {
    let text = |pointer: &str| match operator.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(value) => value.to_string(),
    };
    let (phase, of) = (text("/swap/phase"), text("/swap/of"));
    if phase != "steady" {
        let progress =
            if of.is_empty() { String::new() } else { format!(", {} of {of} records", text("/swap/records")) };
        anstream::println!("{id}: {phase}{progress}");
    }
    if operator.pointer("/swap/cells").is_some() {
        anstream::println!("{id}: migrating, {} of about {} cells", text("/swap/cells_migrated"), text("/swap/cells"));
    }
    if let Some(shadow) = operator.get("shadow") {
        super::swap::show_shadow(id, shadow);
    }
    if operator.pointer("/last_event/kind").is_some() {
        let reason = text("/last_event/reason");
        let reason = if reason.is_empty() { reason } else { format!(": {reason}") };
        anstream::println!(
            "{id}: generation {} runs; last {} ({}){reason}",
            text("/generation"),
            text("/last_event/kind"),
            text("/last_event/digest")
        );
    }
}

/// `millstream savepoint`.
pub(crate) fn savepoint(reading: &Reading) -> Outcome<()> {
    let taken = asked(reading, Asked::post("/savepoint", Body::None))?;
    if reading.output == Format::Json {
        return super::print_json(&taken);
    }
    let path = taken.get("path").and_then(Value::as_str);
    anstream::println!("{}", path.ok_or_else(|| Failure::failed("the running pipeline did not say where"))?);
    Ok(())
}
