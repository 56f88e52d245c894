#!/usr/bin/env bash
# Checks what Farebox is made of: licences, sources and versions of every crate (cargo-deny), known weaknesses (the advisory
# database of RustSec, with cargo-deny and cargo-audit), and writes the bill of materials.
#
#   scripts/supply-chain.sh
#
# The database is fetched from its repository. FAREBOX_ADVISORY_DB names a git clone of it that is used instead, on a machine
# that cannot reach it. Exit codes: 0 when all of it was checked and is fine; 1 when something was found; 2 when a tool is
# missing; 3 when the rest is fine and the advisories were NOT checked, because there is no database.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly FOUND=1 TOOL_MISSING=2 NO_DATABASE=3
# As deny.toml names them.
readonly DATABASES=target/advisory-dbs
readonly DATABASE_URL=https://github.com/RustSec/advisory-db
# A host that never answers must not hold this up for longer.
readonly FETCH_S_MAX=180
# Every lock file is one build of its own.
readonly LOCKS=(Cargo.lock fuzz/Cargo.lock tests/no_std/Cargo.lock tests/instructions/Cargo.lock)

say() { printf 'supply-chain: %s\n' "$*"; }

for tool in cargo-deny cargo-audit; do
  if ! command -v "$tool" >/dev/null 2>&1; then
    say "$tool is missing: cargo install --locked $tool" >&2
    exit "$TOOL_MISSING"
  fi
done

# git is told to look into the clone whenever it is asked for the database's address.
if [ -n "${FAREBOX_ADVISORY_DB:-}" ]; then
  clone="$(cd "$FAREBOX_ADVISORY_DB" && pwd)"
  export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0="url.file://$clone.insteadOf" GIT_CONFIG_VALUE_0="$DATABASE_URL"
fi

fetch_database() {
  mkdir -p "$DATABASES"
  GIT_TERMINAL_PROMPT=0 timeout "$FETCH_S_MAX" cargo deny --locked fetch db
}

check_advisories() {
  local database status=0
  database="$(find "$DATABASES" -mindepth 1 -maxdepth 1 -type d -name 'advisory-db-*' -print -quit)"
  say "advisories of $(git -C "$database" log -1 --format='%cs, commit %h')"
  cargo deny --locked check advisories || status="$FOUND"
  for lock in "${LOCKS[@]}"; do
    say "cargo audit: $lock"
    cargo audit --deny warnings --no-fetch --stale --db "$database" --file "$lock" || status="$FOUND"
  done
  return "$status"
}

status=0
say "$(git rev-parse --short HEAD), $(cargo deny --version), $(cargo-audit --version)"
cargo deny --locked check licenses bans sources || status="$FOUND"
if fetch_database; then
  check_advisories || status="$FOUND"
else
  say "************************************************************************" >&2
  say "ADVISORIES WERE NOT CHECKED: there is no database." >&2
  say "FAREBOX_ADVISORY_DB=<a git clone of $DATABASE_URL> names one." >&2
  say "************************************************************************" >&2
  [ "$status" -ne 0 ] || status="$NO_DATABASE"
fi
say "bill of materials: $(scripts/sbom.sh)"
case "$status" in
  0) say "licences, bans, sources and advisories: fine" ;;
  "$NO_DATABASE") say "licences, bans and sources: fine; advisories: NOT CHECKED" >&2 ;;
  *) say "something was found, see above" >&2 ;;
esac
exit "$status"
