//! The export macro.

/// Makes a component of operators: `export_operators! { "count": Count }`, once per crate of type `cdylib`.
///
/// The names are those the pipeline file uses; it may leave the name out if there is only one. What an operator can do beside processing records is named after `with`:
/// `"count": Count with Migrate`; an operator that lacks it does not compile. When compiled natively (for `cargo test`) the macro only checks that the types are such operators.
///
/// ```compile_fail,E0277
/// # use millstream_sdk::*;
/// # struct Count;
/// # impl Operator for Count {
/// #     fn open(_: &mut Setup) -> Result<Self> { Ok(Self) }
/// #     fn process(&self, _: &Record, _: &mut Context) -> Result<()> { Ok(()) }
/// # }
/// export_operators! { "count": Count with Migrate } // the trait bound `Count: Migrate` is not satisfied
/// ```
#[macro_export]
macro_rules! export_operators {
    ($(
        $name:literal : $first:ident $(:: $rest:ident)* $(< $($argument:ty),+ >)? $(with $ability:ident $(+ $more:ident)*)?
    ),+ $(,)?) => {
        $crate::__operators! {
            $({ $name [$first $(:: $rest)* $(< $($argument),+ >)?] $($ability $($more)*)? })+
        }
    };
}

/// What [`export_operators!`] expands to, as each operator is `{ name [type] abilities }`.
#[doc(hidden)]
#[macro_export]
macro_rules! __operators {
    ($({ $name:literal [$operator:ty] $($ability:ident)* })+) => {
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
                        $($name => {
                            let operator = $crate::__guest::Opened::<$operator>::open(&config)?;
                            $(let operator = $crate::__ability!(operator $ability);)*
                            operator.finish()
                        })+
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
            $crate::__export_migration!(Component $($($ability)*)+);
            $crate::__export_broadcast_input!(Component $($($ability)*)+);
            $crate::__export_timers!(Component $($($ability)*)+);
            $crate::__export_windows!(Component $($($ability)*)+);
        };

        const _: fn() = || {
            fn is_operator<O: $crate::Operator>() {}
            $(is_operator::<$operator>();)+
            $($({
                fn is_able<O: $crate::$ability>() {}
                is_able::<$operator>();
            })*)+
        };
    };
}

/// Gives an opened operator what one word after `with` stands for.
#[doc(hidden)]
#[macro_export]
macro_rules! __ability {
    ($operator:ident Migrate) => {
        $operator.with_migrate()
    };
    ($operator:ident OnBroadcast) => {
        $operator.with_on_broadcast()
    };
    ($operator:ident OnTimer) => {
        $operator.with_on_timer()
    };
    ($operator:ident OnWindow) => {
        $operator.with_on_window()
    };
}

/// Exports the interface `broadcast-input` if some operator of the component has a use for it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_broadcast_input {
    ($component:ident) => {};
    ($component:ident OnBroadcast $($rest:ident)*) => {
        impl $crate::__guest::BroadcastGuest for $component {
            fn process_broadcast(
                batch: $crate::__guest::BroadcastBatch,
            ) -> ::core::result::Result<(), $crate::__guest::BroadcastFailure> {
                $crate::__guest::process_broadcast(batch)
            }
        }

        $crate::__guest::export_broadcast_input!($component with_types_in $crate::__guest::broadcast_bindings);
    };
    ($component:ident $other:ident $($rest:ident)*) => {
        $crate::__export_broadcast_input!($component $($rest)*);
    };
}

/// Exports the interface `timers` if some operator of the component has a use for it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_timers {
    ($component:ident) => {};
    ($component:ident OnTimer $($rest:ident)*) => {
        impl $crate::__guest::TimersGuest for $component {
            fn on_timers(
                timers: $crate::__guest::TimerBatch,
            ) -> ::core::result::Result<(), $crate::__guest::TimersFailure> {
                $crate::__guest::on_timers(timers)
            }
        }

        $crate::__guest::export_timers!($component with_types_in $crate::__guest::timers_bindings);
    };
    ($component:ident $other:ident $($rest:ident)*) => {
        $crate::__export_timers!($component $($rest)*);
    };
}

/// Exports the interface `windows` if some operator of the component has a use for it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_windows {
    ($component:ident) => {};
    ($component:ident OnWindow $($rest:ident)*) => {
        impl $crate::__guest::WindowsGuest for $component {
            fn on_windows(
                windows: $crate::__guest::WindowBatch,
                firing: $crate::__guest::WireFiring,
            ) -> ::core::result::Result<(), $crate::__guest::WindowsFailure> {
                $crate::__guest::on_windows(windows, firing)
            }
        }

        $crate::__guest::export_windows!($component with_types_in $crate::__guest::windows_bindings);
    };
    ($component:ident $other:ident $($rest:ident)*) => {
        $crate::__export_windows!($component $($rest)*);
    };
}

/// Exports the interface `migration` if some operator of the component has a use for it.
#[doc(hidden)]
#[macro_export]
macro_rules! __export_migration {
    ($component:ident) => {};
    ($component:ident Migrate $($rest:ident)*) => {
        impl $crate::__guest::MigrationGuest for $component {
            fn migrate(
                state: u32,
                from_version: u32,
                values: $crate::__guest::OldColumn,
            ) -> ::core::result::Result<$crate::__guest::OldColumn, $crate::__guest::MigrationFailure> {
                $crate::__guest::migrate(state, from_version, values)
            }
        }

        $crate::__guest::export_migration!($component with_types_in $crate::__guest::migration_bindings);
    };
    ($component:ident $other:ident $($rest:ident)*) => {
        $crate::__export_migration!($component $($rest)*);
    };
}
