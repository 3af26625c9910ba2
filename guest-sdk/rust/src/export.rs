//! The export macro.

/// Makes a component of operators: `export_operators! { "count": Count }`, once per crate of type `cdylib`.
///
/// The names are those the pipeline file uses; it may leave the name out if there is only one. When compiled natively (for
/// `cargo test`) the macro only checks that the types are operators.
#[macro_export]
macro_rules! export_operators {
    ($($name:literal : $operator:ty),+ $(,)?) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Component;

            impl $crate::__guest::Guest for Component {
                fn catalog() -> ::std::vec::Vec<$crate::__guest::Entry> {
                    ::std::vec![$($crate::__guest::entry::<$operator>($name, ::core::env!("CARGO_PKG_VERSION"))),+]
                }

                fn open(
                    name: ::std::string::String,
                    config: ::std::string::String,
                ) -> ::core::result::Result<$crate::__guest::WireDescriptor, ::std::string::String> {
                    match name.as_str() {
                        $($name => $crate::__guest::open::<$operator>(&config),)+
                        _ => ::core::result::Result::Err(::std::format!(
                            "there is no operator \"{name}\" in this component; it has {}",
                            [$($name),+].join(", "),
                        )),
                    }
                }

                fn process(batch: $crate::__guest::Batch) -> ::core::result::Result<(), $crate::__guest::Failure> {
                    $crate::__guest::process(batch)
                }
            }

            $crate::__guest::export_component!(Component with_types_in $crate::__guest::bindings);
        };

        #[cfg(not(target_arch = "wasm32"))]
        const _: fn() = || {
            fn is_operator<O: $crate::Operator>() {}
            $(is_operator::<$operator>();)+
        };
    };
}
