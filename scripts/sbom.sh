#!/usr/bin/env bash
# Writes a bill of materials (CycloneDX 1.5, JSON) of what the released program is built from: every crate of the lock file
# that the program depends on, with version, licence and checksum.
#
#   scripts/sbom.sh [OUTPUT]       (default: target/farebox.cdx.json)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output="${1:-target/farebox.cdx.json}"
mkdir -p "$(dirname "$output")"
metadata="$(mktemp)"
trap 'rm -f "$metadata"' EXIT
cargo metadata --locked --format-version 1 > "$metadata"
node scripts/sbom.mjs "$metadata" Cargo.lock > "$output"
echo "$output"
