//! Everything in the way of a pipeline on its cluster, said at once.

use crate::config::{Resolved, SinkKind};
use crate::error::{Failure, Outcome};
use millstream_engine::task::LETTER_BYTES_MIN;
use millstream_kafka::{KafkaCluster, KafkaError, Needs, SinkNeed};

/// Refuses a cluster on which the pipeline would hang or fail later.
pub(crate) fn check(cluster: &KafkaCluster, resolved: &Resolved) -> Outcome<()> {
    let problems = cluster.preflight(&needs(resolved));
    if problems.is_empty() { Ok(()) } else { Err(Failure::config(text(&resolved.id, &problems))) }
}

fn needs(resolved: &Resolved) -> Needs {
    let sinks = resolved.sinks.iter().enumerate().filter_map(|(at, sink)| match &sink.kind {
        SinkKind::Topic { topic, create } => Some(SinkNeed {
            topic: topic.clone(),
            create: *create,
            // A letter that never fits would stop the pipeline.
            record_bytes_min: if resolved.dead_letters.map(usize::from) == Some(at) { LETTER_BYTES_MIN } else { 1 },
        }),
        _ => None,
    });
    Needs {
        id: resolved.id.clone(),
        sources: resolved.topics().map(|(_, topic)| topic.to_owned()).collect(),
        sinks: sinks.collect(),
        transaction_timeout_ms: resolved.commit.transaction_timeout_ms,
    }
}

fn text(id: &str, problems: &[KafkaError]) -> String {
    match problems {
        [one] => one.to_string(),
        many => {
            let lines: Vec<String> = many.iter().map(|problem| format!("\n  - {problem}")).collect();
            format!("{} things are in the way of pipeline `{id}`:{}", many.len(), lines.concat())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_problem_is_said_as_it_is_and_several_as_a_list() {
        let problem = |topic: &str| KafkaError::Topic { topic: topic.to_owned(), reason: "is missing".to_owned() };
        assert_eq!(text("words", &[problem("a")]), "topic `a`: is missing");
        assert_eq!(
            text("words", &[problem("a"), problem("b")]),
            "2 things are in the way of pipeline `words`:\n  - topic `a`: is missing\n  - topic `b`: is missing"
        );
    }
}
