#!/usr/bin/env bash
# Builds the fuzz targets with libFuzzer's coverage and runs each for a while: FUZZ_SECONDS (default 20).
#   scripts/fuzz.sh [TARGET...]
# Works with the toolchain of the repository; no sanitizer is needed, since the code under test is checked by itself
# (feature `verify`, overflow checks) and against oracles. What was found stays in fuzz/corpus and fuzz/artifacts.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${FUZZ_SECONDS:-20}
target_dir=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# Comparisons are not traced: there are no magic numbers to find, but millions of checked bounds, and runs would take three
# times as long.
coverage="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Ccodegen-units=1"
echo "fuzz: building"
RUSTFLAGS=$(echo $coverage) CARGO_TARGET_DIR=$target_dir \
    cargo build --locked --quiet --release --manifest-path fuzz/Cargo.toml --target "$host"
if (($# == 0)); then
    mapfile -t names < <(find fuzz/targets -name '*.rs' -printf '%f\n' | sed 's/\.rs$//' | sort)
    set -- "${names[@]}"
fi
for name in "$@"; do
    mkdir -p "fuzz/corpus/$name" "fuzz/artifacts/$name"
    log=$target_dir/$name.log
    if ! "$target_dir/$host/release/$name" "fuzz/corpus/$name" "-artifact_prefix=fuzz/artifacts/$name/" \
        -max_total_time="$seconds" -max_len=4096 -len_control=0 -print_final_stats=1 -verbosity=0 -timeout=60 >"$log" 2>&1; then
        tail -30 "$log" >&2
        echo "fuzz: $name found something; see fuzz/artifacts/$name" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    echo "fuzz: $name: $runs runs in $seconds s, nothing found"
done
