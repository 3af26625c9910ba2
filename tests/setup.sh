#!/usr/bin/env bash
# Installs what building and testing Millstream needs on Debian (or Ubuntu). Safe to run again: whatever is there is left
# alone, and without anything missing it needs neither the network nor root.
#
#   tests/setup.sh
#
# MILLSTREAM_CACHE  where the Kafka jars go (default: $HOME/.cache/millstream)
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
missing=()

say() { echo "setup: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }
installed() { dpkg-query -W -f='${Status}' "$1" 2>/dev/null | grep -q 'ok installed'; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif has sudo; then sudo "$@"
  else say "not root and no sudo: cannot run $*"; return 1
  fi
}

packages() {
  local wanted=()
  has cmake || wanted+=(cmake)
  has g++ || wanted+=(g++)
  has make || wanted+=(make)
  has pkg-config || wanted+=(pkg-config)
  has curl || wanted+=(curl ca-certificates)
  has python3 || wanted+=(python3)
  has git || wanted+=(git)
  has kcat || wanted+=(kcat)
  has setpriv || wanted+=(util-linux)
  has javac || wanted+=(default-jdk-headless)
  has mvn || wanted+=(maven)
  # bindgen loads libclang at build time; any version will do. Its C++ sibling, libclang-cpp, will not.
  compgen -G '/usr/lib/llvm-*/lib/libclang[.-][0-9s]*' >/dev/null || installed libclang-dev || wanted+=(libclang-dev)
  [ -e /usr/include/openssl/ssl.h ] || wanted+=(libssl-dev)
  [ -e /usr/include/zlib.h ] || wanted+=(zlib1g-dev)
  # Rust comes from rustup, which newer Debian releases package.
  has rustup || [ -x "$HOME/.cargo/bin/rustup" ] || wanted+=(rustup)
  [ ${#wanted[@]} -gt 0 ] || return 0
  if ! has apt-get; then missing+=("${wanted[@]}"); return 0; fi
  say "installing ${wanted[*]}"
  as_root apt-get update -qq </dev/null >&2 || say "apt-get update failed; going on with the package lists there are"
  local package
  for package in "${wanted[@]}"; do
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" </dev/null >&2 ||
      missing+=("$package (apt-get install failed)")
  done
}

rust() {
  export PATH="$HOME/.cargo/bin:$PATH"
  has rustup || { missing+=("rustup"); return 0; }
  local channel
  channel=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' "$root/rust-toolchain.toml")
  rustup toolchain list | grep -q "^$channel-" || rustup toolchain install "$channel" --profile minimal >&2 ||
    { missing+=("the Rust toolchain $channel"); return 0; }
  local item
  for item in clippy rustfmt; do
    rustup component list --toolchain "$channel" --installed | grep -q "^$item" ||
      rustup component add --toolchain "$channel" "$item" >&2 || missing+=("the Rust component $item")
  done
  for item in wasm32-wasip2 wasm32-unknown-unknown wasm32-wasip1; do
    rustup target list --toolchain "$channel" --installed | grep -qx "$item" ||
      rustup target add --toolchain "$channel" "$item" >&2 || missing+=("the Rust target $item")
  done
}

java_is_17() {
  local version
  version=$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 17 ] || missing+=("a JDK of version 17 or later (found: ${version:-none})")
}

packages
rust
java_is_17
if [ ${#missing[@]} -eq 0 ]; then
  "$root/tests/kafka/kafka.sh" fetch </dev/null || missing+=("the Kafka jars (tests/kafka/kafka.sh fetch failed)")
fi
if [ ${#missing[@]} -gt 0 ]; then
  say "missing, install by hand and run again:"
  printf 'setup:   - %s\n' "${missing[@]}" >&2
  exit 1
fi
say "everything is in place"
