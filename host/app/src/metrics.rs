//! Prometheus metrics over HTTP, on the address that was asked for.

use crate::error::{Failure, Outcome};
use crate::progress::Snapshot;
use axum::Router;
use axum::http::header;
use axum::routing::get;
use millstream_engine::run::Control;
use millstream_model::plan::Plan;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::net::SocketAddr;
use std::sync::Arc;

/// Takes the numbers when they are asked for.
#[derive(Debug)]
struct Collector {
    plan: Arc<Plan>,
    control: Arc<Control>,
}

type Labels<'a> = [(&'a str, &'a str); 2];

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: &[(Labels<'_>, u64)],
) -> Result<(), std::fmt::Error> {
    let kind = prometheus_client::metrics::MetricType::Counter;
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        let own = family.encode_family(labels)?;
        ConstCounter::new(*value).encode(own)?;
    }
    Ok(())
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: &[(Labels<'_>, i64)],
) -> Result<(), std::fmt::Error> {
    let kind = prometheus_client::metrics::MetricType::Gauge;
    let mut family = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        let own = family.encode_family(labels)?;
        ConstGauge::new(*value).encode(own)?;
    }
    Ok(())
}

impl prometheus_client::collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let now = Snapshot::of(&self.plan, &self.control);
        let id = now.id.as_str();
        let (mut read, mut lag) = (Vec::new(), Vec::new());
        for (source, status) in &now.sources {
            let labels = [("pipeline", id), ("source", source.as_str())];
            read.push((labels, status.records));
            lag.push((labels, status.lag));
        }
        counter(&mut encoder, ("millstream_source_records", "Records read"), &read)?;
        gauge(&mut encoder, ("millstream_source_lag", "Records not yet read"), &lag)?;
        let (mut entered, mut emitted, mut refused, mut busy, mut state) = (vec![], vec![], vec![], vec![], vec![]);
        let (mut timers, mut watermark_lag) = (vec![], vec![]);
        for (operator, status) in &now.operators {
            let labels = [("pipeline", id), ("operator", operator.as_str())];
            entered.push((labels, status.records_in));
            emitted.push((labels, status.records_out));
            refused.push((labels, status.refused));
            timers.push((labels, status.timers));
            watermark_lag.extend(status.time.as_ref().and_then(|time| Some((labels, time.lag_ms?))));
            busy.push((labels, status.busy_ms));
            state.push((labels, i64::try_from(status.state_bytes).unwrap_or(i64::MAX)));
        }
        counter(&mut encoder, ("millstream_operator_records_in", "Records that came in"), &entered)?;
        counter(&mut encoder, ("millstream_operator_records_out", "Records emitted"), &emitted)?;
        counter(&mut encoder, ("millstream_operator_records_refused", "Records refused"), &refused)?;
        counter(&mut encoder, ("millstream_operator_busy_milliseconds", "Time in calls"), &busy)?;
        gauge(&mut encoder, ("millstream_operator_state_bytes", "Cached state"), &state)?;
        counter(&mut encoder, ("millstream_operator_timers", "Timers that came due"), &timers)?;
        let name = "millstream_operator_watermark_lag_milliseconds";
        gauge(&mut encoder, (name, "How far the watermark is behind the wall clock"), &watermark_lag)?;
        let written: Vec<_> = now
            .sinks
            .iter()
            .map(|(sink, status)| ([("pipeline", id), ("sink", sink.as_str())], status.records))
            .collect();
        counter(&mut encoder, ("millstream_sink_records", "Records of committed epochs"), &written)?;
        let whole = [("pipeline", id), ("scope", "run")];
        counter(&mut encoder, ("millstream_commits", "Commits"), &[(whole, now.commit.commits)])?;
        counter(&mut encoder, ("millstream_rollbacks", "Epochs dropped and replayed"), &[(whole, now.commit.rollbacks)])
    }
}

/// Serves `GET /metrics` until the process ends.
pub(crate) fn serve(address: SocketAddr, plan: Arc<Plan>, control: &Arc<Control>) -> Outcome<()> {
    let failed = |cause: std::io::Error| Failure::config(format!("--metrics {address}: {cause}"));
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Collector { plan, control: Arc::clone(control) }));
    let registry = Arc::new(registry);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let work = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let page = move || {
            let registry = Arc::clone(&registry);
            async move {
                let mut text = String::new();
                let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
                match prometheus_client::encoding::text::encode(&mut text, &registry) {
                    Ok(()) => Ok(([(header::CONTENT_TYPE, kind)], text)),
                    Err(_) => Err(axum::http::StatusCode::INTERNAL_SERVER_ERROR),
                }
            }
        };
        axum::serve(listener, Router::new().route("/metrics", get(page))).await
    };
    let serve = move || {
        if let Err(error) = runtime.block_on(work) {
            tracing::warn!(%error, "metrics are no longer served");
        }
    };
    std::thread::Builder::new().name("metrics".to_owned()).spawn(serve).map_err(failed)?;
    Ok(())
}
