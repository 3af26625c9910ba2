//! `crossings`: asks for the values of as many states, and emits in as many pieces, as its configuration `[states, emissions]` says. No SDK: what it
//! costs is what crossing the boundary costs.

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the generated exports are unsafe functions")]
mod component {
    use exports::millstream::operator::operator::{Batch, CatalogEntry, Descriptor, Failure, Guest};
    use millstream::operator::descriptors::{
        InputDescriptor, InputKind, OutputDescriptor, StateDescriptor, StateKind, WindowUse,
    };
    use millstream::operator::{effects, state};
    use std::hint::black_box;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    wit_bindgen::generate!({ path: "../../../wit/operator", world: "stream-operator" });

    static STATES: AtomicU32 = AtomicU32::new(0);
    static EMISSIONS: AtomicU32 = AtomicU32::new(1);

    struct Crossings;

    impl Guest for Crossings {
        fn catalog() -> Vec<CatalogEntry> {
            let (name, version) = ("crossings".to_owned(), "0.1.0".to_owned());
            vec![CatalogEntry { name, version, config_schema: None, properties: Vec::new() }]
        }

        fn open(_: String, config: String) -> Result<Descriptor, String> {
            let numbers: Vec<u32> =
                config.trim_matches(['[', ']']).split(',').filter_map(|number| number.trim().parse().ok()).collect();
            let &[states, emissions] = numbers.as_slice() else {
                return Err(format!("the configuration is `[states, emissions]`, not `{config}`"));
            };
            STATES.store(states, Relaxed);
            EMISSIONS.store(emissions, Relaxed);
            Ok(Descriptor {
                inputs: vec![InputDescriptor { name: "in".into(), kind: InputKind::Records, properties: Vec::new() }],
                outputs: vec![OutputDescriptor { name: "out".into(), properties: Vec::new() }],
                states: (0..states).map(state_descriptor).collect(),
                timers: Vec::new(),
                windows: WindowUse::None,
                properties: Vec::new(),
            })
        }

        fn process(batch: Batch) -> Result<(), Failure> {
            for index in 0..STATES.load(Relaxed) {
                black_box(state::values(index));
            }
            let rows: Vec<u32> = (0..batch.timestamps_ms.len() as u32).collect();
            let emissions = EMISSIONS.load(Relaxed) as usize;
            for parents in rows.chunks(rows.len().div_ceil(emissions.max(1)).max(1)).take(emissions) {
                effects::emit(&effects::OutputBatch {
                    port: 0,
                    parents: parents.to_vec(),
                    keys: None,
                    values: None,
                    timestamps_ms: None,
                    headers: None,
                });
            }
            Ok(())
        }
    }

    fn state_descriptor(index: u32) -> StateDescriptor {
        StateDescriptor {
            name: format!("s{index}"),
            kind: StateKind::Value,
            version: 1,
            reads_versions: Vec::new(),
            migrates_versions: Vec::new(),
            ttl: None,
            properties: Vec::new(),
        }
    }

    export!(Crossings);
}
