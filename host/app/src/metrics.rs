//! Prometheus metrics over HTTP, on the address that was asked for.
//!
//! They tell what runs here and how much of it, so they are for this machine, unless somebody says by which names they may be asked for from elsewhere. A page in
//! a browser on this machine can send requests to any address of it, under a name of its author's choice (DNS rebinding): so that name is looked at before anything else.

mod own;

use crate::error::{Failure, Outcome};
use crate::progress::Snapshot;
use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::IntoResponse;
use axum::routing::get;
use millstream_engine::run::Control;
use millstream_model::plan::Plan;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
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
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
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
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
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
        own::encode(&mut encoder, &now)?;
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

/// An address that metrics will be served on.
pub(crate) struct Door {
    address: SocketAddr,
    listener: std::net::TcpListener,
    /// By which it may be asked for, beside those of this machine's loopback.
    names: Vec<String>,
}

impl Door {
    /// Takes the address. Beyond loopback it needs a name, so that nobody opens it to others by mistake.
    pub(crate) fn take(address: SocketAddr, names: &[String]) -> Outcome<Self> {
        if !address.ip().is_loopback() && names.is_empty() {
            return Err(Failure::config(format!(
                "--metrics {address}: others than this machine reach that address; say under which name they may ask with `--metrics-host`, or use 127.0.0.1:{}",
                address.port()
            )));
        }
        let failed = |cause: std::io::Error| Failure::config(format!("--metrics {address}: {cause}"));
        let listener = std::net::TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { address, listener, names: names.to_vec() })
    }

    /// Serves `GET /metrics` until the process ends.
    pub(crate) fn serve(self, plan: Arc<Plan>, control: &Arc<Control>) -> Outcome<()> {
        let address = self.address;
        let failed = |cause: std::io::Error| Failure::config(format!("--metrics {address}: {cause}"));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Collector { plan, control: Arc::clone(control) }));
        let router = router(Arc::new(registry), self.names);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let listener = self.listener;
        let work = async move { axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await };
        let serve = move || {
            if let Err(error) = runtime.block_on(work) {
                tracing::warn!(%error, "metrics are no longer served");
            }
        };
        std::thread::Builder::new().name("metrics".to_owned()).spawn(serve).map_err(failed)?;
        Ok(())
    }
}

fn router(registry: Arc<Registry>, names: Vec<String>) -> Router {
    let page = move || {
        let registry = Arc::clone(&registry);
        async move {
            let mut text = String::new();
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            match prometheus_client::encoding::text::encode(&mut text, &registry) {
                Ok(()) => Ok(([(header::CONTENT_TYPE, kind)], text)),
                Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
            }
        }
    };
    let names = Arc::new(names);
    let guard = move |request: Request, next: Next| {
        let names = Arc::clone(&names);
        async move {
            if is_asked_by_a_known_name(&request, &names) {
                return next.run(request).await;
            }
            let text = "metrics are not served under this name; `run --metrics-host` adds it\n";
            (StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
    };
    Router::new().route("/metrics", get(page)).layer(middleware::from_fn(guard))
}

fn is_asked_by_a_known_name(request: &Request, names: &[String]) -> bool {
    let mut given = request.headers().get_all(header::HOST).iter();
    let (Some(host), None) = (given.next(), given.next()) else { return false };
    // A target in absolute form counts instead of `Host` (RFC 9112, 3.2.2), so both must do.
    let target = request.uri().authority().map(|authority| authority.as_str());
    host.to_str().is_ok_and(|host| is_known(host, names)) && target.is_none_or(|target| is_known(target, names))
}

/// Whether a host, with or without a port, is this machine's loopback or one of the names.
fn is_known(host: &str, names: &[String]) -> bool {
    let has_port = |(_, port): &(&str, &str)| !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit());
    let name = host.rsplit_once(':').filter(has_port).map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.is_loopback())
        || names.iter().any(|known| known.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn only_names_of_this_machine_and_those_that_were_given_are_answered() {
        let names = ["metrics.example.org".to_owned(), "10.0.0.7".to_owned()];
        let known = ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "127.9.9.9", "[::1]:9464", "[::1]"];
        for host in known.iter().chain(&["metrics.example.org:9464", "Metrics.Example.Org", "10.0.0.7:1"]) {
            assert!(is_known(host, &names), "{host}");
        }
        for host in ["example.org", "localhost.example.org", "10.0.0.8", "127.0.0.1.example.org:9464", "", ":9464"] {
            assert!(!is_known(host, &names), "{host}");
        }
    }

    #[test]
    fn an_address_beyond_this_machine_needs_a_name() {
        let anywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let refused = Door::take(anywhere, &[]).err().unwrap();
        assert_eq!(refused.code, crate::error::exit::CONFIG);
        assert!(refused.text.contains("--metrics-host"), "{}", refused.text);
        assert!(Door::take(anywhere, &["metrics.example.org".to_owned()]).is_ok());
        assert!(Door::take("127.0.0.1:0".parse().unwrap(), &[]).is_ok());
    }
}
