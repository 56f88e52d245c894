#!/usr/bin/env bash
# Proves that a plain release build of farebox-crypto keeps its vector code in functions that have the instructions.
# A lane function that is not inlined into them calls each instruction as a function of its own: right answers,
# twenty times slower. Such functions would stand in the library under their names.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${CARGO_TARGET_DIR:=$PWD/target}"
if [[ "$(uname -m)" != x86_64 ]]; then
    echo "lanes: this machine has no AVX-512: nothing to check"
    exit 0
fi
for tool in nm objdump; do
    command -v "$tool" >/dev/null || { echo "lanes: $tool is missing (package binutils)" >&2; exit 1; }
done

echo "lanes: building farebox-crypto in release mode"
cargo build --locked --quiet --release -p farebox-crypto
library=$CARGO_TARGET_DIR/release/libfarebox_crypto.rlib

# `_xgetbv` is asked once, when the backend is detected; `fmt` prints a register in tests.
apart=$(nm "$library" 2>/dev/null | grep -E ' [tTwW] .*core_arch.*x86' | grep -vE 'xgetbv|Debug' || true)
if [[ -n "$apart" ]]; then
    echo "lanes: these instructions were not inlined:" >&2
    echo "$apart" >&2
    exit 1
fi
# A multiplication of lanes has some 50 of them, and the kernel has dozens of multiplications.
products=$(objdump -d --no-show-raw-insn "$library" | grep -c vpmadd52 || true)
if ((products < 2000)); then
    echo "lanes: found $products vpmadd52 instructions, expected thousands" >&2
    exit 1
fi
echo "lanes: ok, $products products inlined"
