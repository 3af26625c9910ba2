//! `count-simple`: emits how many records of a key there were so far. The simple world: one call per record, no SDK, only what a WIT
//! generator makes of `wit/record-operator`.

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the generated exports are unsafe functions")]
mod component {
    use exports::millstream::record_operator::handler::Guest;
    use millstream::record_operator::{output, state};

    wit_bindgen::generate!({ path: "../../wit/record-operator", world: "record-operator" });

    struct CountSimple;

    impl Guest for CountSimple {
        fn process(key: Option<Vec<u8>>, _: Option<Vec<u8>>, _: i64) -> Result<(), String> {
            let seen = super::next(state::get("seen").as_deref())?;
            state::put("seen", &seen.to_be_bytes());
            output::emit("", key.as_deref(), Some(seen.to_string().as_bytes()));
            Ok(())
        }
    }

    export!(CountSimple);
}

/// The count after one more record, given the stored one.
#[cfg_attr(not(any(target_arch = "wasm32", test)), expect(dead_code, reason = "used by the component"))]
fn next(stored: Option<&[u8]>) -> Result<i64, String> {
    let seen = match stored.map(<[u8; 8]>::try_from) {
        None => 0,
        Some(Ok(bytes)) => i64::from_be_bytes(bytes),
        Some(Err(_)) => return Err("the stored count is no 64-bit number".into()),
    };
    Ok(seen + 1)
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn counts_go_on_from_the_stored_one() {
        assert_eq!(next(None), Ok(1));
        assert_eq!(next(Some(&41_i64.to_be_bytes())), Ok(42));
    }

    #[test]
    fn a_foreign_stored_value_is_an_error() {
        assert_eq!(next(Some(b"41")), Err("the stored count is no 64-bit number".into()));
    }
}
