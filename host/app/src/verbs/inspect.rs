use crate::cli::{Format, Inspect};
use crate::compose;
use crate::error::{Failure, Outcome};
use crate::store::ModuleStore;
use comfy_table::Table;
use millstream_wasm::{Inspection, ModuleSource, OperatorConfig};
use std::path::Path;

/// `millstream inspect`.
pub(crate) fn inspect(arguments: &Inspect) -> Outcome<()> {
    let engine = compose::wasm_engine()?;
    let path = ModuleStore::of_user().find(&arguments.module, Path::new(""))?;
    let module = ModuleSource::file(&path).and_then(|source| engine.load(&source)).map_err(Failure::config)?;
    let is_asked = arguments.operator.is_some() || arguments.config.is_some() || module.catalog().len() == 1;
    let config = is_asked.then(|| OperatorConfig {
        id: "inspect".to_owned(),
        name: arguments.operator.clone(),
        config: arguments.config.clone().unwrap_or_default(),
        ..OperatorConfig::default()
    });
    let is_wanted = arguments.operator.is_some() || arguments.config.is_some();
    let inspection = match engine.inspect(&module, config) {
        // Without its configuration an operator may not open; what it is can be shown all the same.
        Err(_) if !is_wanted => engine.inspect(&module, None).map_err(Failure::config)?,
        inspected => inspected.map_err(Failure::config)?,
    };
    match arguments.output {
        Format::Json => super::print_json(&inspection),
        Format::Table => {
            show(&inspection);
            Ok(())
        }
    }
}

fn show(inspection: &Inspection) {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.add_row(["module", &inspection.module]);
    table.add_row(["digest", &inspection.digest]);
    table.add_row(["bytes".to_owned(), inspection.bytes.to_string()]);
    table.add_row(["kind".to_owned(), format!("{:?}", inspection.kind)]);
    table.add_row(["world".to_owned(), format!("{:?}", inspection.world)]);
    for (name, functions) in &inspection.imports {
        table.add_row(["imports".to_owned(), format!("{name}: {}", functions.join(", "))]);
    }
    for (name, functions) in &inspection.exports {
        table.add_row(["exports".to_owned(), format!("{name}: {}", functions.join(", "))]);
    }
    for operator in &inspection.catalog {
        table.add_row(["operator".to_owned(), format!("{} {}", operator.name, operator.version)]);
        for (name, value) in &operator.properties {
            table.add_row([format!("{name} of {}", operator.name), value.clone()]);
        }
        if let Some(schema) = &operator.config_schema {
            table.add_row([format!("config of {}", operator.name), schema.clone()]);
        }
    }
    if let Some(descriptor) = &inspection.descriptor {
        let inputs: Vec<&str> = descriptor.inputs.iter().map(|input| input.name.as_str()).collect();
        table.add_row(["inputs".to_owned(), inputs.join(", ")]);
        table.add_row(["outputs".to_owned(), descriptor.outputs.join(", ")]);
        for property in &inspection.properties {
            table.add_row([format!("{} of {}", property.name, property.of), property.value.clone()]);
        }
        for state in &descriptor.states {
            table
                .add_row(["state".to_owned(), format!("{} ({:?}, version {})", state.name, state.kind, state.version)]);
        }
    }
    anstream::println!("{table}");
}
