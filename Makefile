# Every target sets up what it needs, and says so. Nothing outside this folder is changed, except for
# system packages that `scripts/setup.sh` names before it installs them.
#
#   make demo    a real client pays through Farebox on a local chain
#   make test    everything: formats, lints, Rust, contracts, end to end with real clients
#   make test-long  a million signatures, more histories, kills and power losses: takes hours
#   make test-upgrade  upgrades under load from older commits, which it builds
#   make fuzz    every fuzz target for FUZZ_SECONDS
#   make bench   the verifier and the durable books beside their peers
#   make bench-small  the small parts of a paid request alone, beside the last record of them

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),$(CURDIR)/target)
export FAREBOX_BIN := $(TARGET_DIR)/debug/farebox
# The two longest end-to-end files run beside each other, not more: two cores are enough for everybody.
INTEROP_JOBS ?= 2

.PHONY: help setup build demo test test-rust test-contracts test-interop test-browser test-long fuzz bench bench-verify bench-verify-docs bench-books bench-books-docs bench-http bench-http-build bench-streams bench-settlement bench-small bench-small-record bench-docs supply-chain book test-upgrade bench-books-build bench-books-sweep bench-books-sweep-docs lint fmt

help:
	@echo "make demo    a real client pays per request and per token; the books and the chain agree"
	@echo "make test    all tests and lints"
	@echo "make test-long   a million signatures, 100,000 histories, 10,000 kills, 1,000 power losses: takes hours"
	@echo "make test-upgrade  upgrades under load from programs of older commits, which it builds"
	@echo "make fuzz    runs every fuzz target for FUZZ_SECONDS (20)"
	@echo "make bench   measures beside peers (bench-verify, bench-books, bench-http, bench-streams, bench-settlement: ARGS=\"--quick FILTER\")"
	@echo "make bench-small   measures the small parts alone and compares with the last record (ARGS: a part of their names); bench-small-record adds one"
	@echo "make bench-books-sweep  what each option of RocksDB does to the books, one at a time"
	@echo "make bench-docs  writes docs/benchmarks/README.md from what they measured"
	@echo "make book    the manual as web pages, in the target folder"
	@echo "make supply-chain   licences, sources, known weaknesses of all dependencies, and the bill of materials"
	@echo "make lint    formats, clippy, no_std, inlined lanes, lean build, instruction counts"
	@echo "make fmt     formats the sources"

setup:
	@scripts/setup.sh

build: setup
	@echo "building farebox (the first time RocksDB is compiled: 10 to 25 minutes on two cores)"
	cargo build --locked

demo: build
	@node demo/demo.mjs

test: lint test-rust test-contracts test-interop test-browser

lint: setup
	cargo fmt --all --check
	cargo clippy --locked --workspace --features farebox-benches/books,farebox-benches/http,farebox-benches/small,farebox-engine/failpoints,failpoints,charge --all-targets -- -D warnings
	scripts/check-no-std.sh
	scripts/check-lanes-inlined.sh
	scripts/check-lean-build.sh
	# Instructions of the portable backend, under callgrind: more than 3 % up fails.
	node scripts/instructions.mjs

test-rust: setup
	# All features in one build: two would compile half of the dependencies twice.
	cargo test --locked --workspace --features farebox-benches/books,farebox-benches/http,farebox-engine/failpoints,failpoints,charge
	# Once more with the bound of every limb checked.
	cargo test --locked -p farebox-crypto --features verify

# Optimised builds: these tests compute for a long time.
test-long: setup
	FAREBOX_ORACLE_SIGNATURES=$${FAREBOX_ORACLE_SIGNATURES:-1000000} \
		cargo test --locked --release -p farebox-crypto --test oracle -- --nocapture
	FAREBOX_SEEDS=$${FAREBOX_SEEDS:-100000} \
		cargo test --locked --release -p farebox-simulation --test simulation -- --nocapture
	FAREBOX_HISTORIES=$${FAREBOX_HISTORIES:-100000} \
		cargo test --locked --release -p farebox-simulation --test linearizable -- --nocapture
	FAREBOX_KILLS=$${FAREBOX_KILLS:-10000} \
		cargo test --locked --release -p farebox-engine --features failpoints --test disaster kill:: -- --nocapture
	FAREBOX_POWER_LOSSES=$${FAREBOX_POWER_LOSSES:-1000} \
		cargo test --locked --release -p farebox-engine --features failpoints --test disaster power:: -- --nocapture
	FAREBOX_SEQUENCES=$${FAREBOX_SEQUENCES:-1000} \
		cargo test --locked -p farebox-devnet --test chain differential:: -- --nocapture
	FAREBOX_DUE=$${FAREBOX_DUE:-10000} \
		cargo test --locked --release -p farebox-settlement --test settlement chain::many:: -- --nocapture
	FAREBOX_STREAM_KILLS=$${FAREBOX_STREAM_KILLS:-50} \
		FAREBOX_STREAMS=$${FAREBOX_STREAMS:-5000} FAREBOX_STREAM_S=$${FAREBOX_STREAM_S:-60} \
		cargo test --locked --release -p farebox-engine --features failpoints --test http many:: -- --nocapture
	# The same over connections, each paying as it goes, for ten minutes.
	cargo build --locked --release -p farebox-benches --bin http --features http,fast-peers
	FAREBOX_STREAMS=$${FAREBOX_STREAMS:-5000} FAREBOX_STREAM_S=$${FAREBOX_STREAM_S:-600} $(TARGET_DIR)/release/http streams
	FAREBOX_FAULT_RUNS=$${FAREBOX_FAULT_RUNS:-500} \
		cargo test --locked --release -p farebox-settlement --test settlement chain::chaos:: -- --nocapture
	# Key services: their SDKs are large, so no other build has them.
	cargo test --locked -p farebox-settlement --features kms-aws,kms-gcp --lib signer::
	cargo test --locked --features kms-aws,kms-gcp --bin farebox keys::
	# Charges by Stripe are in no build that does not ask for them.
	cargo build --locked --features charge
	node --test tests/charge/*.test.mjs
	# Traces, and their SDK.
	cargo test --locked --features otel --bin farebox traces::
	cargo test --locked --features otel --test otel
	# Its package comes from PyPI.
	cargo build --locked
	node --test tests/docs/python-client.mjs

# The last commit whose store had the format before this one, and the first whose hand-over waits for every last request.
OLD_FORMAT ?= 7567bfc
OLD_HANDOVER ?= 5c5ca4c

# Upgrades under load from programs of older commits, which are built first.
test-upgrade: setup
	old="$$(scripts/old-program.sh $(OLD_FORMAT))"
	FAREBOX_OLD_BIN="$$old" cargo test --locked --test upgrade behind_a_balancer -- --nocapture
	old="$$(scripts/old-program.sh $(OLD_HANDOVER))"
	FAREBOX_OLD_BIN="$$old" cargo test --locked --test upgrade replaced_twice -- --nocapture

fuzz:
	@scripts/fuzz.sh

test-contracts: setup
	scripts/contracts.sh check
	scripts/contracts.sh gas
	scripts/contracts.sh test

test-interop: build
	node --test --test-concurrency=$(INTEROP_JOBS) tests/interop/*.test.mjs tests/docs/*.test.mjs

test-browser: build
	node --test tests/browser/*.test.mjs

bench: bench-verify bench-books bench-http bench-streams bench-settlement

# ARGS: --quick, and a part of the names of the cases to measure.
bench-verify:
	@echo "building the benchmark (the first time its peers are compiled: 5 to 15 minutes on two cores)"
	cargo build --locked --release -p farebox-benches --bin verify --features fast-peers
	$(TARGET_DIR)/release/verify $(ARGS)

# ARGS: --quick, --channels, --signers, --threads, --vouchers, and a part of the names of the cases to measure.
# SYNC_US: every sync takes so many microseconds more, as on a slower disk; the result is books-slow.json.
bench-books: bench-books-build
	mkdir -p $(TARGET_DIR)/bench
	cc -O2 -shared -fPIC -o $(TARGET_DIR)/bench/slow_sync.so benches/src/bin/books/slow_sync.c -ldl
	$(if $(SYNC_US),FAREBOX_SYNC_US=$(SYNC_US) LD_PRELOAD=$(TARGET_DIR)/bench/slow_sync.so) $(TARGET_DIR)/release/books $(ARGS)

# ARGS: --channels, --vouchers, --rounds, and a part of the names of the options to measure, such as journal. or block_size.
bench-books-sweep: bench-books-build
	$(TARGET_DIR)/release/books sweep $(ARGS)

bench-books-build:
	@echo "building the benchmark (the first time RocksDB is compiled: 10 to 25 minutes on two cores)"
	cargo build --locked --release -p farebox-benches --bin books --features books,fast-peers

# ARGS: --quick, and some of bare, layer, gateway, mpp and mppx.
bench-http: bench-http-build
	$(TARGET_DIR)/release/http $(ARGS)

# STREAMS metered streams at once for STREAM_S seconds; the figures stand beside those of bench-http.
bench-streams: bench-http-build
	FAREBOX_STREAMS=$${STREAMS:-500} FAREBOX_STREAM_S=$${STREAM_S:-60} $(TARGET_DIR)/release/http streams

# The gateway is the program itself; peers come from crates.io and npm.
bench-http-build: setup
	@echo "building the benchmark (the first time RocksDB is compiled: 10 to 25 minutes on two cores)"
	cargo build --locked --release
	cargo build --locked --release -p farebox-benches --bin http --features http,fast-peers

# DUE: channels due at once on a local chain, 1 % of them poisoned, then each in a transaction of its own. VOUCHERS: of each of
# twenty channels, eight times, with and without settlement. The figures are kept in bench/settlement of the target folder.
bench-settlement: export FAREBOX_BENCH_DIR = $(abspath $(TARGET_DIR))/bench/settlement
bench-settlement: setup
	cargo bench --locked -p farebox-settlement-plan --bench planner
	FAREBOX_DUE=$${DUE:-1000} cargo test --locked --release -p farebox-settlement --test settlement chain::many:: -- --nocapture
	FAREBOX_VOUCHERS=$${VOUCHERS:-1000} cargo test --locked --release -p farebox-settlement --test settlement chain::engine_cost:: -- --nocapture

# The small parts of a paid request, each alone. Nothing of the peers is built.
bench-small:
	@node scripts/bench-small.mjs $(ARGS)

bench-small-record:
	@node scripts/bench-small.mjs --record

# Writes docs/benchmarks/verify.md and its plot. "+" marks a commit with changes of its own on top.
bench-verify-docs: export BENCH_COMMIT = $(shell git rev-parse --short HEAD)$(shell git diff --quiet HEAD -- Cargo.lock engine benches || echo +)
bench-verify-docs: export BENCH_DATE = $(shell date -u +%F)
bench-verify-docs: ARGS = --docs
bench-verify-docs: bench-verify

# Writes the figures into docs/benchmarks/books.md; once more with SYNC_US=4000 and ARGS="batch/ peer" for those of a slow disk.
bench-books-docs: export BENCH_COMMIT = $(shell git rev-parse --short HEAD)$(shell git diff --quiet HEAD -- Cargo.lock engine benches || echo +)
bench-books-docs: export BENCH_DATE = $(shell date -u +%F)
bench-books-docs: override ARGS += --docs
bench-books-docs: bench-books

# Writes the figures into docs/benchmarks/rocksdb-options.md.
bench-books-sweep-docs: export BENCH_COMMIT = $(shell git rev-parse --short HEAD)$(shell git diff --quiet HEAD -- Cargo.lock engine benches || echo +)
bench-books-sweep-docs: export BENCH_DATE = $(shell date -u +%F)
bench-books-sweep-docs: override ARGS += --docs
bench-books-sweep-docs: bench-books-sweep

# Writes docs/benchmarks/README.md and its plots from the last runs: `make bench` first, for a full page.
bench-docs:
	@node scripts/bench-page.mjs --from $(TARGET_DIR)/bench --program $(TARGET_DIR)/release/farebox

# Needs cargo-deny and cargo-audit, and the network for the database of advisories: ends with 3 when that was not there.
supply-chain:
	@scripts/supply-chain.sh

book:
	@command -v mdbook >/dev/null || { echo "mdbook is missing: cargo install --locked mdbook" >&2; exit 1; }
	mdbook build --dest-dir $(abspath $(TARGET_DIR))/book

fmt:
	cargo fmt --all
