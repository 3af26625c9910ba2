# One profile for everything: a second one would compile RocksDB, librdkafka and wasmtime a second time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
CARGO ?= cargo

# On a build machine whatever was compiled lives in the cache, outside the checkout. Operators have target directories of
# their own: cargo locks one while it builds.
cache := $(HOME)/.cache/millstream
ifdef CI
export CARGO_TARGET_DIR := $(cache)/target
endif
target := $(abspath $(or $(CARGO_TARGET_DIR),target))
plugins_target := $(if $(CARGO_TARGET_DIR),$(cache)/plugins-target,plugins/target)
guests_target := $(if $(CARGO_TARGET_DIR),$(cache)/guests-target,tests/guests/target)
export MILLSTREAM_BIN ?= $(target)/release/millstream

.PHONY: help setup build plugins guests test lint tidy bench demo

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

setup: ## install what building and testing needs (Debian)
	tests/setup.sh

build: ## build the millstream binary
	$(CARGO) build --release --package millstream

plugins: ## build the operators that ship with Millstream, into plugins/dist
	plugins/build.sh

guests: ## build the operators that only tests use
	tests/guests/build.sh

test: setup plugins guests ## every test, against one real Kafka broker that is started for them
	CARGO_TARGET_DIR=$(plugins_target) $(CARGO) test --release --manifest-path plugins/Cargo.toml --workspace --no-fail-fast
	$(CARGO) build --release --workspace --all-targets
	tests/kafka/kafka.sh with $(CARGO) test --release --workspace --no-fail-fast

lint: tidy ## formatting, the rules of the house, and clippy with warnings denied
	CARGO_TARGET_DIR=$(plugins_target) $(CARGO) clippy --release --manifest-path plugins/Cargo.toml --workspace --all-targets -- -D warnings
	CARGO_TARGET_DIR=$(guests_target) $(CARGO) clippy --release --manifest-path tests/guests/Cargo.toml --workspace --target wasm32-wasip2 -- -D warnings
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

tidy: ## only what needs no large compilation
	$(CARGO) fmt --all --check
	$(CARGO) fmt --all --check --manifest-path plugins/Cargo.toml
	$(CARGO) fmt --all --check --manifest-path tests/guests/Cargo.toml
	$(CARGO) test --release --package millstream-tidy

bench: setup plugins guests build ## measure, against a broker of its own; writes target/bench/latest.jsonl
	tests/kafka/kafka.sh with $(CARGO) bench --package millstream --package millstream-bench --bench millstream

demo: plugins build ## a running pipeline without Kafka, its results before your eyes; DEMO_SECONDS=20 ends it
	deploy/demo.sh
