# Every target sets up what it needs, and says so. Nothing outside this folder is changed, except for
# system packages that `scripts/setup.sh` names before it installs them.
#
#   make demo    a real client pays through Farebox on a local chain
#   make test    everything: formats, lints, Rust, contracts, end to end with real clients
#   make bench   the verifier against libsecp256k1, in one run

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
export FAREBOX_BIN := $(TARGET_DIR)/debug/farebox
# The two longest end-to-end files run beside each other, not more: two cores are enough for everybody.
INTEROP_JOBS ?= 2

.PHONY: help setup build demo test test-rust test-contracts test-interop bench lint fmt

help:
	@echo "make demo    a real client pays per request and per token; the books and the chain agree"
	@echo "make test    all tests and lints"
	@echo "make bench   measures the verifier against libsecp256k1"
	@echo "make lint    formats, clippy, no_std, contract artifacts"
	@echo "make fmt     formats the sources"

setup:
	@scripts/setup.sh

build: setup
	@echo "building farebox (the first time RocksDB is compiled: 10 to 25 minutes on two cores)"
	cargo build --locked

demo: build
	@node demo/demo.mjs

test: lint test-rust test-contracts test-interop

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	scripts/check-no-std.sh

test-rust: setup
	cargo test --locked --workspace

test-contracts: setup
	scripts/contracts.sh check
	scripts/contracts.sh test

test-interop: build
	node --test --test-concurrency=$(INTEROP_JOBS) tests/interop/*.test.mjs

bench:
	cargo bench --locked -p farebox-crypto --bench verify

fmt:
	cargo fmt --all
