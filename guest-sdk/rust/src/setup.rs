//! What an operator says about itself while it opens.

use crate::{
    Aggregate, Aggregating, Broadcast, Codec, Error, List, Map, MapKey, Reducing, Result, Value,
    buffer::Buffers,
    descriptor::{DEFAULT_INPUT, Descriptor, Input, Kind, Output, Port, State},
    metrics::{Counter, Gauge, Histogram},
    stop,
    timer::{AnyTimer, Clock, EventTimer, ProcessingTimer, Timer, TimerBuffer},
};
use serde::de::DeserializeOwned;

/// Hands out the handles of an operator's inputs, outputs, states and metrics, and builds its descriptor from them: nothing is
/// declared twice, and no name is looked up per record.
///
/// A mistake, such as a name given twice, does not interrupt `open`; it is reported when `open` is done.
#[derive(Debug)]
pub struct Setup {
    config: String,
    pub(crate) descriptor: Descriptor,
    pub(crate) metrics: MetricNames,
    pub(crate) buffers: Buffers,
    timer_buffer: Option<u32>,
    fault: Option<String>,
}

#[derive(Debug, Default)]
pub(crate) struct MetricNames {
    pub(crate) counters: Vec<String>,
    pub(crate) gauges: Vec<String>,
    pub(crate) histograms: Vec<String>,
}

impl Setup {
    pub(crate) fn new(config: &str) -> Self {
        Self {
            config: config.to_owned(),
            descriptor: Descriptor::default(),
            metrics: MetricNames::default(),
            buffers: Buffers::default(),
            timer_buffer: None,
            fault: None,
        }
    }

    /// The operator's `config` in the pipeline file. With `#[serde(deny_unknown_fields)]` on the type a misspelt setting is refused.
    ///
    /// # Errors
    /// The configuration has not the shape of `T`; the message names the setting.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        serde_json::from_str(&self.config).map_err(|error| stop(format!("config: {error}")))
    }

    /// Declares an input. An operator that declares none has one, named `in`.
    pub fn input(&mut self, port: impl Into<Port>) -> Input {
        let port = port.into();
        self.check_name("input", &port.name, self.descriptor.inputs.iter().any(|other| other.name == port.name));
        self.descriptor.inputs.push(port);
        Input(self.descriptor.inputs.len() as u32 - 1)
    }

    /// Declares an input whose records come to every worker and may only change broadcast states: see [`OnBroadcast`](crate::OnBroadcast). The operator declares its other
    /// inputs, too.
    pub fn broadcast_input(&mut self, port: impl Into<Port>) -> Input {
        self.input(Port { is_broadcast: true, ..port.into() })
    }

    /// Declares an output.
    pub fn output(&mut self, port: impl Into<Port>) -> Output {
        let port = port.into();
        self.check_name("output", &port.name, self.descriptor.outputs.iter().any(|other| other.name == port.name));
        if ["late", "rejected"].contains(&port.name.as_str()) {
            self.fault(format!("the output \"{}\" is the host's own; choose another name", port.name));
        }
        self.descriptor.outputs.push(port);
        Output(self.descriptor.outputs.len() as u32 - 1)
    }

    /// Declares a state that holds one value per key. It makes the operator keyed: each record reaches the instance that owns its
    /// key, and a record without a key is rejected before it gets here.
    pub fn value<T: Codec>(&mut self, state: impl Into<State>) -> Value<T> {
        let mut state = state.into();
        state.usual("codec", T::NAME);
        Value::at(self.state(state, Kind::Value))
    }

    /// Declares a state that holds a map per key, in the order of its map keys. It makes the operator keyed.
    pub fn map<K: MapKey, V: Codec>(&mut self, state: impl Into<State>) -> Map<K, V> {
        let mut state = state.into();
        state.usual("key-codec", K::CODEC);
        state.usual("codec", V::NAME);
        let tells_reads = state.touch.is_some();
        Map::declare(self.state(state, Kind::Map), tells_reads, &mut self.buffers)
    }

    /// Declares a state that holds a list per key. It makes the operator keyed.
    pub fn list<T: Codec>(&mut self, state: impl Into<State>) -> List<T> {
        let mut state = state.into();
        state.usual("codec", T::NAME);
        let tells_reads = state.touch.is_some();
        List::declare(self.state(state, Kind::List), tells_reads, &mut self.buffers)
    }

    /// Declares a state that is the same for all keys. It is changed by a broadcast input: see [`OnBroadcast`](crate::OnBroadcast).
    pub fn broadcast<K: MapKey, V: Codec>(&mut self, state: impl Into<State>) -> Broadcast<K, V> {
        let mut state = state.into();
        state.usual("key-codec", K::CODEC);
        state.usual("codec", V::NAME);
        if state.ttl.is_some() || state.touch.is_some() {
            self.fault(format!("the state \"{}\" is a broadcast state, which has no time to live", state.name));
        }
        if !state.migrates.is_empty() {
            self.fault(format!("the state \"{}\" is a broadcast state, which is not migrated", state.name));
        }
        Broadcast::declare(self.state(state, Kind::Broadcast), &mut self.buffers)
    }

    /// Declares a timer that goes by event time: see [`OnTimer`](crate::OnTimer). It makes the operator keyed.
    pub fn event_timer(&mut self, timer: impl Into<Timer>) -> EventTimer {
        EventTimer(self.timer(Timer { clock: Clock::Event, ..timer.into() }))
    }

    /// Declares a timer that goes by the host's wall clock, so that a replay may see other things. It makes the operator keyed.
    pub fn processing_timer(&mut self, timer: impl Into<Timer>) -> ProcessingTimer {
        ProcessingTimer(self.timer(Timer { clock: Clock::Processing, ..timer.into() }))
    }

    fn timer(&mut self, timer: Timer) -> AnyTimer {
        self.check_name("timer", &timer.name, self.descriptor.timers.iter().any(|other| other.name == timer.name));
        self.descriptor.timers.push(timer);
        let buffers = &mut self.buffers;
        let buffer = *self.timer_buffer.get_or_insert_with(|| buffers.add(TimerBuffer::default()));
        AnyTimer { timer: self.descriptor.timers.len() as u32 - 1, buffer }
    }

    /// Declares a value per key that grows by folding: `reduce` makes one of what there is and what is added.
    pub fn reducing<T: Codec>(&mut self, state: impl Into<State>, reduce: fn(T, T) -> T) -> Reducing<T> {
        Reducing::new(self.value(state), reduce)
    }

    /// Declares a value per key that inputs are folded into, and a result is made of.
    pub fn aggregating<A: Aggregate>(&mut self, state: impl Into<State>, aggregate: A) -> Aggregating<A> {
        Aggregating::new(self.value(state), aggregate)
    }

    fn state(&mut self, state: State, kind: Kind) -> u32 {
        self.check_name("state", &state.name, self.descriptor.states.iter().any(|other| other.name == state.name));
        self.check_versions(&state);
        self.check_ttl(&state);
        self.descriptor.states.push(State { kind, ..state });
        self.descriptor.states.len() as u32 - 1
    }

    fn check_ttl(&mut self, state: &State) {
        let name = &state.name;
        match state.ttl {
            Some(ttl) if ttl.duration_ms() == 0 => {
                self.fault(format!("the state \"{name}\" has a time to live below a millisecond"));
            }
            None if state.touch.is_some() => {
                self.fault(format!("the state \"{name}\" is refreshed on access and has no time to live"));
            }
            _ => {}
        }
    }

    /// Declares a counter. Names of metrics match `[a-z][a-z0-9_]*`.
    pub fn counter(&mut self, name: impl Into<String>) -> Counter {
        let name = self.metric_name(name.into());
        self.metrics.counters.push(name);
        Counter(self.metrics.counters.len() - 1)
    }

    /// Declares a gauge.
    pub fn gauge(&mut self, name: impl Into<String>) -> Gauge {
        let name = self.metric_name(name.into());
        self.metrics.gauges.push(name);
        Gauge(self.metrics.gauges.len() - 1)
    }

    /// Declares a histogram.
    pub fn histogram(&mut self, name: impl Into<String>) -> Histogram {
        let name = self.metric_name(name.into());
        self.metrics.histograms.push(name);
        Histogram(self.metrics.histograms.len() - 1)
    }

    /// Says a fact about the operator, by name: see `properties` in the contract.
    pub fn property(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.descriptor.properties.push((name.into(), value.into()));
    }

    /// Ends the declarations, or tells the first mistake in them.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        if let Some(fault) = self.fault.take() {
            return Err(stop(fault));
        }
        if self.descriptor.inputs.is_empty() {
            self.descriptor.inputs.push(Port::new(DEFAULT_INPUT));
        }
        if self.descriptor.inputs.iter().all(|input| input.is_broadcast) {
            return Err(stop("all inputs are broadcast inputs: declare the one whose records are processed as well"));
        }
        Ok(())
    }

    fn check_name(&mut self, kind: &str, name: &str, taken: bool) {
        if !is_name(name, b'-') {
            self.fault(format!("the {kind} \"{name}\" has no valid name: a letter, then letters, digits and -, all lowercase, at most 63"));
        }
        if taken {
            self.fault(format!("the {kind} \"{name}\" is declared twice"));
        }
    }

    fn check_versions(&mut self, state: &State) {
        let State { name, version, reads, migrates, .. } = state;
        if reads.contains(version) || migrates.contains(version) {
            self.fault(format!(
                "the state \"{name}\" has version {version} and lists it among those it reads or migrates"
            ));
        }
        if let Some(both) = reads.iter().find(|version| migrates.contains(version)) {
            self.fault(format!("the state \"{name}\" reads version {both} as it is and migrates it, too: keep one"));
        }
    }

    fn metric_name(&mut self, name: String) -> String {
        if !is_name(&name, b'_') {
            self.fault(format!("the metric \"{name}\" has no valid name: a letter, then letters, digits and _, all lowercase, at most 63"));
        }
        let MetricNames { counters, gauges, histograms } = &self.metrics;
        if [counters, gauges, histograms].into_iter().flatten().any(|other| *other == name) {
            self.fault(format!("the metric \"{name}\" is declared twice"));
        }
        name
    }

    fn fault(&mut self, text: String) {
        self.fault.get_or_insert(text);
    }
}

fn is_name(name: &str, separator: u8) -> bool {
    let rest = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == separator;
    name.len() <= 63 && name.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && name.as_bytes().iter().all(rest)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn fault<T>(declare: impl FnOnce(&mut Setup) -> T) -> String {
        let mut setup = Setup::new("{}");
        declare(&mut setup);
        setup.finish().unwrap_err().to_string()
    }

    #[test]
    fn mistakes_in_names_are_told() {
        assert!(fault(|setup| (setup.output("a"), setup.output("a"))).contains("\"a\" is declared twice"));
        assert!(fault(|setup| setup.output("late")).contains("host's own"));
        assert!(fault(|setup| setup.input("Orders")).contains("no valid name"));
        assert!(fault(|setup| setup.input("a".repeat(64))).contains("no valid name"));
        assert!(fault(|setup| (setup.counter("a"), setup.gauge("a"))).contains("\"a\" is declared twice"));
        assert!(fault(|setup| setup.value::<u64>(State::new("s").reads(1))).contains("version 1"));
        assert!(fault(|setup| setup.value::<u64>(State::new("s").migrates(1))).contains("version 1"));
        let both = State::new("s").version(2).reads(1).migrates(1);
        assert!(fault(|setup| setup.value::<u64>(both)).contains("keep one"));
    }

    #[test]
    fn an_operator_without_inputs_gets_one() {
        let mut setup = Setup::new("{}");
        setup.finish().unwrap();
        assert_eq!(setup.descriptor.inputs, [Port::new("in")]);
    }

    #[test]
    fn a_config_of_another_shape_names_the_setting() {
        #[derive(Debug, serde::Deserialize)]
        struct Config {
            #[expect(dead_code, reason = "only its absence matters")]
            pointer: String,
        }
        let error = Setup::new("{}").config::<Config>().unwrap_err();
        assert!(matches!(&error, Error::Stop(text) if text.contains("`pointer`")), "{error}");
    }
}
