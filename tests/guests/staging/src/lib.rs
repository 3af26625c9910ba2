//! `staging`: four small operators bound by hand, to measure the boundary: effects are staged and state is asked for, as the contract has it.

#[cfg(target_arch = "wasm32")]
#[expect(unsafe_code, reason = "the generated exports are unsafe functions")]
mod component;
#[cfg(target_arch = "wasm32")]
mod work;

/// Nothing: the allocator is the usual one.
#[cfg(target_arch = "wasm32")]
fn begin_call() {}
