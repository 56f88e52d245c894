#!/usr/bin/env bash
# Builds the program of an older commit, for tests of upgrades, and prints the path of the binary.
#
#   scripts/old-program.sh COMMIT
#
# Kept below the target folder: old/COMMIT/farebox. Needs the history of the repository (no shallow clone).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

commit="$(git rev-parse --verify --short "${1:?which commit}^{commit}")"
target="${CARGO_TARGET_DIR:-$PWD/target}"
folder="$target/old/$commit"
if [ ! -x "$folder/farebox" ]; then
  mkdir -p "$folder"
  source_folder="$folder/source"
  git worktree prune
  [ -e "$source_folder/.git" ] || git worktree add --quiet --detach "$source_folder" "$commit" >&2
  # What both versions depend on is built once: the same target folder, and the binary is taken out of it.
  (cd "$source_folder" && CARGO_TARGET_DIR="$target" cargo build --locked --bin farebox) >&2
  cp "$target/debug/farebox" "$folder/farebox"
  git worktree remove --force "$source_folder"
fi
printf '%s\n' "$folder/farebox"
