# One profile for everything: a second one would compile RocksDB, librdkafka and wasmtime a second time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
CARGO ?= cargo

# On a build machine the compiled dependencies live in the cache, outside the checkout.
ifdef CI
export CARGO_TARGET_DIR := $(HOME)/.cache/millstream/target
endif
target := $(abspath $(or $(CARGO_TARGET_DIR),target))
export MILLSTREAM_BIN ?= $(target)/release/millstream

.PHONY: help setup build plugins guests test bench lint demo

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

test: setup plugins guests build ## every test, against one real Kafka broker that is started for them
	tests/kafka/kafka.sh with $(CARGO) test --release --workspace --no-fail-fast
	$(CARGO) test --release --manifest-path plugins/Cargo.toml --workspace --no-fail-fast

lint: ## formatting and clippy, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --workspace --all-targets -- -D warnings

bench: setup plugins build ## measure, against a broker of its own
	tests/kafka/kafka.sh with $(CARGO) bench --package millstream-bench

demo: ## a pipeline with data, dashboard and a swap, in one command
	deploy/demo.sh
