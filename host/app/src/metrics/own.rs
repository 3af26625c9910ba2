//! What operators measure themselves, under `millstream_own_NAME` with the labels `pipeline` and `operator`.
//!
//! A family has one kind, and no two families may have a sample in common: one that does not keep to this makes Prometheus refuse the whole page. Names are the
//! guests', so a name whose samples are taken gets its kind behind it: a gauge `x_total` beside a counter `x` is `millstream_own_x_total_as_gauge`.

use crate::progress::Snapshot;
use millstream_engine::call::OwnMetric;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use std::collections::{BTreeMap, BTreeSet};

/// Operators and what each measured under one name.
type Measured<'a> = Vec<(&'a str, &'a OwnMetric)>;

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, now: &Snapshot) -> Result<(), std::fmt::Error> {
    let mut families: BTreeMap<(&str, &'static str), Measured<'_>> = BTreeMap::new();
    for (operator, status) in &now.operators {
        for (name, metric) in &status.metrics {
            families.entry((name, kind_name(metric))).or_default().push((operator, metric));
        }
    }
    let mut taken = BTreeSet::new();
    for ((name, kind_name), measured) in &families {
        let Some((_, first)) = measured.first() else { continue };
        let mut family = format!("millstream_own_{name}");
        while samples(&family, first).iter().any(|sample| taken.contains(sample)) {
            family = format!("{family}_as_{kind_name}");
        }
        taken.extend(samples(&family, first));
        let mut family = encoder.encode_descriptor(&family, "Measured by operators themselves", None, kind(first))?;
        for (operator, metric) in measured {
            let labels = [("pipeline", now.id.as_str()), ("operator", *operator)];
            let mut own = family.encode_family(&labels)?;
            match metric {
                OwnMetric::Counter(sum) => ConstCounter::new(*sum).encode(own)?,
                OwnMetric::Gauge(value) => ConstGauge::new(*value).encode(own)?,
                OwnMetric::Histogram { count, sum } => {
                    own.encode_histogram::<NoLabelSet>(*sum, *count, &[(f64::INFINITY, *count)], None)?;
                }
            }
        }
    }
    Ok(())
}

/// Everything that a family takes for itself (OpenMetrics 1.0, "MetricFamily").
fn samples(family: &str, metric: &OwnMetric) -> Vec<String> {
    let suffixes: &[&str] = match metric {
        OwnMetric::Counter(_) => &["", "_total", "_created"],
        OwnMetric::Gauge(_) => &[""],
        OwnMetric::Histogram { .. } => &["", "_bucket", "_count", "_sum", "_created"],
    };
    suffixes.iter().map(|suffix| format!("{family}{suffix}")).collect()
}

fn kind_name(metric: &OwnMetric) -> &'static str {
    match metric {
        OwnMetric::Counter(_) => "counter",
        OwnMetric::Gauge(_) => "gauge",
        OwnMetric::Histogram { .. } => "histogram",
    }
}

fn kind(metric: &OwnMetric) -> MetricType {
    match metric {
        OwnMetric::Counter(_) => MetricType::Counter,
        OwnMetric::Gauge(_) => MetricType::Gauge,
        OwnMetric::Histogram { .. } => MetricType::Histogram,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::progress::OperatorStatus;
    use prometheus_client::registry::Registry;

    #[derive(Debug)]
    struct Own(Snapshot);

    impl prometheus_client::collector::Collector for Own {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
            encode(&mut encoder, &self.0)
        }
    }

    fn page(operators: &[(&str, &[(&str, OwnMetric)])]) -> String {
        let status = |metrics: &[(&str, OwnMetric)]| OperatorStatus {
            metrics: metrics.iter().map(|(name, metric)| ((*name).to_owned(), metric.clone())).collect(),
            ..OperatorStatus::default()
        };
        let operators = operators.iter().map(|(id, metrics)| ((*id).to_owned(), status(metrics))).collect();
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Own(Snapshot {
            id: "words".to_owned(),
            operators,
            ..Snapshot::default()
        })));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_operators_measure_is_told_with_pipeline_and_operator() {
        let text = page(&[
            ("count", &[("seen", OwnMetric::Counter(7)), ("latency", OwnMetric::Histogram { count: 3, sum: 1.5 })]),
            ("split", &[("seen", OwnMetric::Counter(9)), ("level", OwnMetric::Gauge(-0.5))]),
        ]);
        for line in [
            "# TYPE millstream_own_seen counter",
            "millstream_own_seen_total{pipeline=\"words\",operator=\"count\"} 7",
            "millstream_own_seen_total{pipeline=\"words\",operator=\"split\"} 9",
            "millstream_own_level{pipeline=\"words\",operator=\"split\"} -0.5",
            "millstream_own_latency_sum{pipeline=\"words\",operator=\"count\"} 1.5",
            "millstream_own_latency_count{pipeline=\"words\",operator=\"count\"} 3",
            "millstream_own_latency_bucket{le=\"+Inf\",pipeline=\"words\",operator=\"count\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn no_two_families_have_a_sample_in_common_whatever_guests_call_their_metrics() {
        let text = page(&[
            (
                "a",
                &[("x", OwnMetric::Counter(1)), ("x_total", OwnMetric::Gauge(2.0)), ("y_count", OwnMetric::Counter(3))],
            ),
            ("b", &[("x", OwnMetric::Gauge(4.0)), ("y", OwnMetric::Histogram { count: 1, sum: 5.0 })]),
        ]);
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let named: BTreeSet<&str> =
            samples.iter().filter_map(|line| line.split_once('}')).map(|(name, _)| name).collect();
        assert_eq!(named.len(), samples.len(), "{text}");
        let families: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(
            families,
            [
                "millstream_own_x counter",
                "millstream_own_x_as_gauge gauge",
                "millstream_own_x_total_as_gauge gauge",
                "millstream_own_y histogram",
                "millstream_own_y_count_as_counter counter",
            ]
        );
    }
}
