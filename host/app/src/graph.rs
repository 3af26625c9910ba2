//! From a resolved pipeline and what its operators say of themselves to a plan. Pure.

use crate::config::{OperatorSpec, Place, Problem, Resolved, SourceSpec, id_of, nearest};
use millstream_model::descriptor::{Descriptor, InputKind, WindowUse};
use millstream_model::ids::{Digest, Generation, OperatorIndex, SinkIndex};
use millstream_model::plan::{OperatorNode, Plan, SinkNode, SourceNode, Target};
use std::collections::BTreeMap;

/// An operator's module, loaded.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) digest: Digest,
    pub(crate) name: String,
    pub(crate) descriptor: Descriptor,
}

/// Order of operators in which each comes after all that feed it; positions in `operators`.
pub(crate) fn topological(operators: &[OperatorSpec]) -> Result<Vec<usize>, Problem> {
    let position: BTreeMap<&str, usize> =
        operators.iter().enumerate().map(|(at, spec)| (spec.id.as_str(), at)).collect();
    let mut order = Vec::new();
    let mut is_placed = vec![false; operators.len()];
    while order.len() < operators.len() {
        let is_ready = |spec: &OperatorSpec| {
            let feeders = spec.inputs.iter().filter_map(|input| position.get(id_of(input)));
            feeders.into_iter().all(|feeder| is_placed.get(*feeder).copied().unwrap_or(true))
        };
        let next = operators
            .iter()
            .enumerate()
            .find(|(at, spec)| !is_placed.get(*at).copied().unwrap_or(true) && is_ready(spec));
        let Some((at, _)) = next else {
            let left: Vec<&str> = operators
                .iter()
                .zip(&is_placed)
                .filter(|(_, placed)| !**placed)
                .map(|(spec, _)| spec.id.as_str())
                .collect();
            let place = Place::at("operators").field(left.first().copied().unwrap_or_default()).field("inputs");
            return Err(Problem::new(&place, format!("operators feed each other in a circle: {}", left.join(", "))));
        };
        if let Some(placed) = is_placed.get_mut(at) {
            *placed = true;
        }
        order.push(at);
    }
    Ok(order)
}

/// Builds the plan; `described` is in the order of `order`, which `topological` gave.
pub(crate) fn plan(resolved: &Resolved, order: &[usize], described: &[Described]) -> Result<Plan, Problem> {
    let specs: Vec<&OperatorSpec> = order.iter().filter_map(|at| resolved.operators.get(*at)).collect();
    let mut operators: Vec<OperatorNode> =
        specs.iter().zip(described).map(|(spec, described)| node(spec, described)).collect();
    let mut sources: Vec<SourceNode> = resolved.sources.iter().map(source_node).collect();
    for (at, spec) in specs.iter().enumerate() {
        check_keyed(spec, operators.get(at))?;
        let inputs = operators.get(at).map_or(1, |node| node.descriptor.inputs.len()).max(1);
        if inputs > 1 && inputs != spec.inputs.len() {
            let text = format!("operator `{}` has {inputs} inputs and `inputs` names {}", spec.id, spec.inputs.len());
            return Err(Problem::new(&spec.place().field("inputs"), text));
        }
        for (position, from) in spec.inputs.iter().enumerate() {
            let input = if inputs > 1 { position as u32 } else { 0 };
            let target = Target::Operator { operator: OperatorIndex(at as u16), input };
            let place = spec.place().field("inputs").item(position);
            connect(&mut sources, &mut operators, from, target, &place)?;
        }
        let stages = (0..).zip(&spec.inputs).map(|(position, from)| {
            let input = if inputs > 1 { position } else { 0 };
            stage_of(&operators, from).unwrap_or(0) + operators.get(at).map_or(0, |node| exchanges(node, input))
        });
        let stage = stages.max().unwrap_or(0);
        if let Some(node) = operators.get_mut(at) {
            node.stage = stage;
        }
    }
    for (at, sink) in resolved.sinks.iter().enumerate() {
        for (position, from) in sink.inputs.iter().enumerate() {
            let place = sink.place().field("inputs").item(position);
            connect(&mut sources, &mut operators, from, Target::Sink(SinkIndex(at as u16)), &place)?;
        }
    }
    operators.iter().zip(&specs).try_for_each(|(node, spec)| check_read(spec, node))?;
    Ok(Plan {
        id: resolved.id.clone(),
        sources,
        operators,
        sinks: resolved.sinks.iter().map(|sink| SinkNode { id: sink.id.clone() }).collect(),
        dead_letters: resolved.dead_letters.map(SinkIndex),
        workers: resolved.workers,
        batch: resolved.batch,
        commit: resolved.commit,
        checkpoint_interval_ms: resolved.checkpoint.interval_ms,
        // Half for the caches of the workers, half for RocksDB.
        state_memory_bytes: resolved.state_memory_bytes / 2,
    })
}

fn source_node(spec: &SourceSpec) -> SourceNode {
    SourceNode { id: spec.id.clone(), targets: Vec::new(), time: spec.time.clone() }
}

fn node(spec: &OperatorSpec, described: &Described) -> OperatorNode {
    OperatorNode {
        id: spec.id.clone(),
        config: spec.config.clone(),
        name: described.name.clone(),
        digest: described.digest,
        generation: Generation(1),
        outputs: vec![Vec::new(); described.descriptor.outputs.len()],
        keyed: spec.keyed || described.descriptor.is_keyed(),
        descriptor: match spec.windows {
            Some(windows) => windows.describe(described.descriptor.clone()),
            None => described.descriptor.clone(),
        },
        windows: spec.windows,
        late: Vec::new(),
        stage: 0,
        limits: spec.limits.clone(),
        on_error: spec.on_error,
        retries: spec.retries,
        null_key: spec.null_key,
        output_time: spec.output_time,
    }
}

/// State without `key_by` is allowed to imply it only in words: whoever reads the file must see it.
fn check_keyed(spec: &OperatorSpec, node: Option<&OperatorNode>) -> Result<(), Problem> {
    let works_in = node.map(|node| node.descriptor.windows).unwrap_or_default();
    if spec.windows.is_some() && works_in == WindowUse::None {
        let text = format!(
            "operator `{}` does not work inside windows, so that nothing would come of its `window`: it has to export `windows` (in Rust, `with OnWindow`)",
            spec.id
        );
        return Err(Problem::new(&spec.place().field("window"), text));
    }
    if spec.windows.is_none() && works_in != WindowUse::None {
        let text =
            format!("operator `{}` works inside windows only: say which, as in `window: {{ tumbling: 1m }}`", spec.id);
        return Err(Problem::new(&spec.place(), text));
    }
    let has_broadcast =
        |node: &OperatorNode| node.descriptor.inputs.iter().any(|input| input.kind == InputKind::Broadcast);
    if spec.windows.is_some() && node.is_some_and(has_broadcast) {
        let text = format!("operator `{}` has a broadcast input, which belongs to no window", spec.id);
        return Err(Problem::new(&spec.place().field("window"), text));
    }
    if spec.windows.is_some() && !spec.keyed {
        let text = format!("operator `{}` has windows, which are kept per key: say `key_by: key`", spec.id);
        return Err(Problem::new(&spec.place(), text));
    }
    let needs = node.is_some_and(|node| node.descriptor.is_keyed());
    if needs && !spec.keyed {
        let text = format!("operator `{}` keeps state per key: say `key_by: key`", spec.id);
        return Err(Problem::new(&spec.place(), text));
    }
    Ok(())
}

/// Outputs may be left unread, but an operator of which nobody reads anything was forgotten somewhere.
fn check_read(spec: &OperatorSpec, node: &OperatorNode) -> Result<(), Problem> {
    if !node.outputs.is_empty() && node.outputs.iter().all(Vec::is_empty) {
        let outputs = node.descriptor.outputs.join(", ");
        let text = format!(
            "nobody reads operator `{}` (it has the outputs: {outputs}): name it in the `inputs` of an operator or a sink, or remove it",
            spec.id
        );
        return Err(Problem::new(&spec.place(), text));
    }
    Ok(())
}

/// Exchanges on the way into an input of an operator.
fn exchanges(node: &OperatorNode, input: u32) -> u32 {
    match node.descriptor.input_kind(input) {
        // To the worker that puts the records into an order, and from there to all.
        InputKind::Broadcast => 2,
        InputKind::Records => u32::from(node.keyed),
    }
}

fn stage_of(operators: &[OperatorNode], from: &str) -> Option<u32> {
    operators.iter().find(|node| node.id == id_of(from)).map(|node| node.stage)
}

/// The host's own output of an operator in windows: records that are too late for them.
const LATE: &str = "late";

fn connect(
    sources: &mut [SourceNode],
    operators: &mut [OperatorNode],
    from: &str,
    target: Target,
    place: &Place,
) -> Result<(), Problem> {
    if let Some(source) = sources.iter_mut().find(|source| source.id == from) {
        source.targets.push(target);
        return Ok(());
    }
    let (id, output) = from.split_once('.').map_or((from, None), |(id, output)| (id, Some(output)));
    let Some(node) = operators.iter_mut().find(|node| node.id == id) else {
        let text = format!("`{from}` is no source and no operator; a source has one output, without a name");
        return Err(Problem::new(place, text));
    };
    if output == Some(LATE) && node.windows.is_some() {
        node.late.push(target);
        return Ok(());
    }
    let names = &node.descriptor.outputs;
    let port = match output {
        None => 0,
        Some(output) => names.iter().position(|name| name == output).ok_or_else(|| {
            let hint = nearest(output, names.iter().map(String::as_str));
            let hint = hint.map(|name| format!("; did you mean `{id}.{name}`?")).unwrap_or_default();
            Problem::new(
                place,
                format!("operator `{id}` has no output `{output}` (it has: {}){hint}", names.join(", ")),
            )
        })?,
    };
    match node.outputs.get_mut(port) {
        Some(targets) => {
            targets.push(target);
            Ok(())
        }
        None => Err(Problem::new(place, format!("operator `{id}` has no outputs"))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::config::PipelineFile;
    use millstream_model::descriptor::{InputDescriptor, StateDescriptor, StateKind};
    use std::path::Path;

    fn resolved(operators: &str, sink: &str) -> Resolved {
        let text = format!(
            "id: p\nsources:\n  in: {{ nexmark: {{}} }}\noperators:\n{operators}sinks:\n  out: {{ stdout: true, inputs: [{sink}] }}\n"
        );
        let file = PipelineFile::parse(Path::new("p.yaml"), &text).map_err(|failure| failure.text).unwrap();
        file.resolve().map_err(|failure| failure.text).unwrap()
    }

    fn described(states: usize) -> Described {
        let state = StateDescriptor::new("s", StateKind::Value);
        Described {
            digest: Digest::default(),
            name: "op".to_owned(),
            descriptor: Descriptor {
                inputs: vec![InputDescriptor::records("in")],
                outputs: vec!["out".to_owned(), "rest".to_owned()],
                states: vec![state; states],
                ..Descriptor::default()
            },
        }
    }

    #[test]
    fn operators_are_ordered_and_staged_by_what_feeds_them() {
        let resolved = resolved(
            "  a: { module: m, inputs: [b.rest], key_by: key }\n  b: { module: m, inputs: [in], key_by: key }\n  c: { module: m, inputs: [a, in] }\n",
            "c",
        );
        let order = topological(&resolved.operators).unwrap();
        let plan = plan(&resolved, &order, &[described(1), described(1), described(0)]).unwrap();
        let ids: Vec<_> = plan.operators.iter().map(|node| (node.id.as_str(), node.stage)).collect();
        assert_eq!(ids, [("b", 1), ("a", 2), ("c", 2)]);
        assert_eq!(plan.sources[0].targets.len(), 2);
        assert_eq!(plan.operators[0].outputs[1], [Target::Operator { operator: OperatorIndex(1), input: 0 }]);
        assert_eq!(plan.operators[2].outputs[0], [Target::Sink(SinkIndex(0))]);
    }

    #[test]
    fn circles_missing_outputs_and_state_without_a_key_are_refused() {
        let circle = resolved("  a: { module: m, inputs: [b, in] }\n  b: { module: m, inputs: [a] }\n", "a");
        assert!(topological(&circle.operators).is_err_and(|problem| problem.text.contains("circle: a, b")));
        let missing = resolved("  a: { module: m, inputs: [in] }\n", "a.rets");
        let problem = plan(&missing, &[0], &[described(0)]).unwrap_err();
        assert!(problem.text.contains("did you mean `a.rest`?"), "{}", problem.text);
        let unkeyed = resolved("  a: { module: m, inputs: [in] }\n", "a");
        assert!(plan(&unkeyed, &[0], &[described(1)]).is_err_and(|problem| problem.text.contains("key_by: key")));
        let unread = resolved("  a: { module: m, inputs: [in] }\n", "in");
        let problem = plan(&unread, &[0], &[described(0)]).unwrap_err();
        assert!(problem.text.starts_with("nobody reads operator `a`"), "{}", problem.text);
        assert_eq!(problem.place, Place::at("operators").field("a"));
    }
}
