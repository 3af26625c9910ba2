use crate::cli::{Format, Plugin};
use crate::compose;
use crate::error::{Failure, Outcome};
use crate::store::ModuleStore;
use comfy_table::Table;
use millstream_wasm::ModuleSource;
use serde_json::json;
use std::path::Path;

/// `millstream plugin`.
pub(crate) fn plugin(verb: Plugin) -> Outcome<()> {
    let store = ModuleStore::of_user();
    match verb {
        Plugin::Add { module, name } => add(&store, &module, name),
        Plugin::List { output } => list(&store, output),
        Plugin::Remove { name } => store.remove(&name),
    }
}

/// Keeps a module that the host can run; anything else is refused now rather than at the start of a pipeline.
fn add(store: &ModuleStore, path: &Path, name: Option<String>) -> Outcome<()> {
    let engine = compose::wasm_engine()?;
    let source = ModuleSource::file(path).map_err(Failure::config)?;
    let module = engine.load(&source).map_err(Failure::config)?;
    let own = module.catalog().first().map(|entry| {
        let version = if entry.version.is_empty() { "0" } else { &entry.version };
        format!("{}@{version}", entry.name)
    });
    let name = name.or(own).unwrap_or_default();
    if !name.contains('@') {
        return Err(Failure::config(format!("--name {name}: give a version too, like {name}@1.0.0")));
    }
    let bytes = std::fs::read(path).map_err(|cause| Failure::config(format!("{}: {cause}", path.display())))?;
    store.add(&name, &bytes)?;
    anstream::println!("{name} {}", module.digest());
    Ok(())
}

fn list(store: &ModuleStore, format: Format) -> Outcome<()> {
    let modules = store.list();
    if format == Format::Json {
        let modules: Vec<_> = modules.iter().map(|(name, path)| json!({ "name": name, "path": path })).collect();
        return super::print_json(&modules);
    }
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_header(["name", "path"]);
    for (name, path) in &modules {
        table.add_row([name, &path.display().to_string()]);
    }
    anstream::println!("{table}");
    Ok(())
}
