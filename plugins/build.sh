#!/bin/sh
# Builds the operators that ship with Millstream into plugins/dist/NAME.wasm.
set -eu
cd "$(dirname "$0")"
# A directory of its own where the caller has set one: cargo locks it while it builds, and the host may be building too.
if [ -n "${CARGO_TARGET_DIR:-}" ]; then
    CARGO_TARGET_DIR="$HOME/.cache/millstream/plugins-target"
else
    CARGO_TARGET_DIR="$PWD/target"
fi
export CARGO_TARGET_DIR

cargo build --quiet --locked --release --target wasm32-wasip2 --workspace
# Later versions of `count`, for the demo.
cargo build --quiet --locked --release --target wasm32-wasip2 --package count --examples
mkdir -p dist
for manifest in */Cargo.toml; do
    name="${manifest%/Cargo.toml}"
    file="$(echo "$name" | tr - _).wasm"
    cp "$CARGO_TARGET_DIR/wasm32-wasip2/release/$file" "dist/$name.wasm"
done
for version in 2 3; do
    cp "$CARGO_TARGET_DIR/wasm32-wasip2/release/examples/count_$version.wasm" "dist/count-$version.wasm"
done
