//! `simple-poison`: does what the value says, in the simple world. See `poison` for the values; here `reject` returns an error after a
//! put and an emit that must not show, and everything else counts the key under `seen` and emits the count.

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the generated exports are unsafe functions")]
mod component {
    use exports::millstream::record_operator::handler::Guest;
    use millstream::record_operator::{
        context, log,
        output::{self, Header},
        state,
    };
    use std::hint::black_box;

    wit_bindgen::generate!({ path: "../../../wit/record-operator", world: "record-operator" });

    struct SimplePoison;

    impl Guest for SimplePoison {
        fn process(key: Option<Vec<u8>>, value: Option<Vec<u8>>, timestamp_ms: i64) -> Result<(), String> {
            let key = key.as_deref();
            match value.as_deref() {
                Some(b"trap") => panic!("poisoned on purpose"),
                Some(b"loop") => loop {
                    black_box(());
                },
                Some(b"bomb") => allocate(),
                Some(b"reject") => {
                    state::put("seen", b"must not show");
                    output::emit("", key, Some(b"must not show"));
                    return Err("rejected on purpose".into());
                }
                Some(b"oversize") => output::emit("", key, Some(&vec![b'x'; 2 << 20])),
                Some(b"stop") => context::stop("stopped on purpose"),
                Some(b"config") => output::emit("", key, Some(context::config().as_bytes())),
                Some(b"input") => output::emit("", key, Some(context::input().as_bytes())),
                Some(b"headers") => {
                    let mut headers: Vec<Header> = context::headers();
                    headers.push(("added".into(), None));
                    output::emit_with("", key, None, timestamp_ms + 1, &headers);
                }
                Some(b"forget") => state::remove("seen"),
                Some(b"names") => output::emit("", key, Some(state::names("", None, 10).join(",").as_bytes())),
                Some(b"fill") => (0..10_000).for_each(|number| state::put(&format!("filled/{number}"), b"")),
                Some(b"count-all") => {
                    let names = state::names("", None, u32::MAX);
                    output::emit("", key, Some(names.len().to_string().as_bytes()));
                }
                Some(b"count-page") => {
                    let names = state::names("filled/", Some("filled/5"), 7);
                    output::emit("", key, Some(names.len().to_string().as_bytes()));
                }
                Some(b"log") => log::write(log::Level::Warn, "logged on purpose"),
                _ => count(key),
            }
            Ok(())
        }
    }

    fn count(key: Option<&[u8]>) {
        let seen = state::get("seen").and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes) + 1;
        state::put("seen", &seen.to_be_bytes());
        output::emit("", key, Some(seen.to_string().as_bytes()));
    }

    fn allocate() {
        let mut hoard = Vec::new();
        loop {
            hoard.push(black_box(vec![1_u8; 1 << 20]));
        }
    }

    export!(SimplePoison);
}
