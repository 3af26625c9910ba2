//! `wrong-world`: a good component of another kind.

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the generated exports are unsafe functions")]
mod component {
    wit_bindgen::generate!({
        inline: "package other:kind@1.0.0; world greeter { export greet: func(name: string) -> string; }",
    });

    struct Greeter;

    impl Guest for Greeter {
        fn greet(name: String) -> String {
            format!("hello, {name}")
        }
    }

    export!(Greeter);
}
