use crate::cli::{Format, Reading};
use crate::compose;
use crate::config::PipelineFile;
use crate::control_socket::ask;
use crate::error::{Failure, Outcome};
use comfy_table::Table;
use millstream_state::socket_path;
use serde_json::Value;

fn asked(reading: &Reading, verb: &str) -> Outcome<Value> {
    let file = PipelineFile::read(&reading.pipeline.file)?;
    let resolved = super::with_overrides(&file, &reading.overrides)?;
    ask(&socket_path(compose::directory(&resolved)), verb)
}

/// `millstream status`.
pub(crate) fn status(reading: &Reading) -> Outcome<()> {
    let status = asked(reading, "status")?;
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
        text("/phase"),
        text("/commits"),
        text("/rollbacks"),
        text("/token"),
        text("/duration_ms")
    );
    for sweep in status.get("sweeps").and_then(Value::as_array).into_iter().flatten() {
        let of = |name: &str| sweep.get(name).map(ToString::to_string).unwrap_or_default();
        let id = sweep.get("operator").and_then(Value::as_str).unwrap_or_default();
        anstream::println!(
            "{id}: old state is migrated: {} of about {} cells seen, {} migrated, {} refused",
            of("cells_seen"),
            of("cells_estimated"),
            of("cells_migrated"),
            of("cells_refused")
        );
    }
    for (kind, columns) in [
        ("sources", &["records", "bytes", "lag"][..]),
        (
            "operators",
            &["records_in", "records_out", "timers", "refused", "late", "dropped", "busy_ms", "state_bytes"][..],
        ),
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
    show_times(&status);
    Ok(())
}

/// Where operators are in event time, and what holds them back.
fn show_times(status: &Value) {
    let operators = status.get("operators").and_then(Value::as_object);
    let timed = operators.into_iter().flatten().filter_map(|(id, row)| Some((id, row.get("time")?)));
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["event time", "watermark", "lag_ms", "held back by"]);
    for (id, time) in timed {
        let number = |name: &str| time.get(name).and_then(Value::as_i64);
        let watermark = match number("watermark_ms") {
            None => "none yet".to_owned(),
            Some(i64::MAX) => "at the end".to_owned(),
            Some(time_ms) => time_ms.to_string(),
        };
        let held = time
            .get("held_back_by")
            .and_then(|held| Some(format!("{}/{}", held.get("source")?.as_str()?, held.get("partition")?)));
        let lag = number("lag_ms").map(|lag| lag.to_string()).unwrap_or_default();
        table.add_row([id.clone(), watermark, lag, held.unwrap_or_default()]);
    }
    if table.row_count() > 0 {
        anstream::println!("{table}");
    }
}

/// `millstream savepoint`.
pub(crate) fn savepoint(reading: &Reading) -> Outcome<()> {
    let taken = asked(reading, "savepoint")?;
    if reading.output == Format::Json {
        return super::print_json(&taken);
    }
    let path = taken.get("path").and_then(Value::as_str);
    anstream::println!("{}", path.ok_or_else(|| Failure::failed("the running pipeline did not say where"))?);
    Ok(())
}
