#!/bin/sh
# Builds the test operators into tests/guests/dist/NAME.wasm.
set -eu
cd "$(dirname "$0")"
# A directory of its own where the caller has set one: cargo locks it while it builds, and the host may be building too.
if [ -n "${CARGO_TARGET_DIR:-}" ]; then
    CARGO_TARGET_DIR="$HOME/.cache/millstream/guests-target"
else
    CARGO_TARGET_DIR="$PWD/target"
fi
export CARGO_TARGET_DIR

cargo build --quiet --locked --release --target wasm32-wasip2 --workspace
# The same operator as what other toolchains hand over: core modules, without and with WASI preview 1.
cargo build --quiet --locked --release --target wasm32-unknown-unknown -p identity
# A world of its own, which only the benchmark of the boundary knows.
cargo build --quiet --locked --release --target wasm32-unknown-unknown -p returning
cargo build --quiet --locked --release --target wasm32-wasip1 -p identity

mkdir -p dist
for manifest in */Cargo.toml; do
    name="${manifest%/Cargo.toml}"
    file="$(echo "$name" | tr - _).wasm"
    cp "$CARGO_TARGET_DIR/wasm32-wasip2/release/$file" "dist/$name.wasm"
done
cp "$CARGO_TARGET_DIR/wasm32-unknown-unknown/release/identity.wasm" dist/core-module.wasm
cp "$CARGO_TARGET_DIR/wasm32-wasip1/release/identity.wasm" dist/preview1.wasm
cp "$CARGO_TARGET_DIR/wasm32-unknown-unknown/release/returning.wasm" dist/returning.wasm
