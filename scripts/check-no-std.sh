#!/usr/bin/env bash
# Proves that the functional core (farebox-crypto, farebox-core, farebox-settlement-plan) links no std.
# Builds and runs tests/no_std, then shows that the same build fails when std is pulled in.
set -euo pipefail
cd "$(dirname "$0")/../tests/no_std"
: "${CARGO_TARGET_DIR:=$PWD/../../target}"
# A folder of its own: the workspace builds the same crates with other features.
export CARGO_TARGET_DIR="$CARGO_TARGET_DIR/no_std"

echo "no_std: building and running without the standard library"
cargo build --locked --quiet
"$CARGO_TARGET_DIR/debug/farebox-no-std-check"

echo "no_std: making sure that the check would notice std"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if cargo build --locked --quiet --features sneak-std 2>"$log"; then
    echo "no_std: a build with std succeeded, so this check proves nothing" >&2
    exit 1
fi
if ! grep -q 'duplicate lang item' "$log"; then
    echo "no_std: the build with std failed for another reason:" >&2
    cat "$log" >&2
    exit 1
fi

# A bare target has no std at all. Host headers and the host's C compiler serve x86_64-unknown-none.
target=x86_64-unknown-none
if [[ "$(uname -m)" == x86_64 ]] && rustup target list --installed 2>/dev/null | grep -qx "$target"; then
    echo "no_std: checking the crates for $target"
    for crate in farebox-crypto farebox-core farebox-settlement-plan; do
        CC_x86_64_unknown_none=${CC:-cc} cargo check --locked --quiet --target "$target" -p "$crate"
    done
fi
echo "no_std: ok"
