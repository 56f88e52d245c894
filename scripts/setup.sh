#!/usr/bin/env bash
# Prepares this machine for building and testing Farebox. Safe to run at any time: when everything is there,
# it says so in one line and changes nothing.
#
#   scripts/setup.sh
#
# Checks: cargo, node and npm, a C++ compiler and libclang, a browser, valgrind, and what mounts a file system for tests. Installs:
# the npm packages of package-lock.json into node_modules, and (only as root, only when missing) clang, libclang, valgrind and
# chromium from the distribution.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly NODE_MAJOR_MIN=20
missing=()

say() { printf 'setup: %s\n' "$*"; }
have() { command -v "$1" >/dev/null 2>&1; }

have_libclang() {
  [ -n "${LIBCLANG_PATH:-}" ] && return 0
  # Not libclang-cpp: that is another library, and often there alone.
  ldconfig -p 2>/dev/null | grep -q 'libclang[-.0-9]*\.so' && return 0
  compgen -G '/usr/lib/llvm*/lib/libclang.so*' >/dev/null && return 0
  compgen -G '/usr/lib/llvm*/lib/libclang-[0-9]*.so*' >/dev/null && return 0
  compgen -G '/usr/lib*/libclang.so*' >/dev/null
}

have_cxx() { have c++ || have clang++ || have g++; }

check_rust() {
  have cargo || missing+=("cargo: install Rust with https://rustup.rs")
}

check_node() {
  if ! have node || ! have npm; then
    missing+=("node and npm: install Node.js $NODE_MAJOR_MIN or newer, https://nodejs.org")
    return
  fi
  local version
  version="$(node --version)"
  local major="${version#v}"
  major="${major%%.*}"
  if [ "$major" -lt "$NODE_MAJOR_MIN" ]; then
    missing+=("node $NODE_MAJOR_MIN or newer: found $version")
  fi
}

check_cxx() {
  if have_cxx && have_libclang; then return; fi
  if [ "$(id -u)" = 0 ] && have apt-get; then
    say "installing clang and libclang-dev with apt-get: RocksDB is C++, and its bindings are made with libclang"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends clang libclang-dev >/dev/null
    if have_cxx && have_libclang; then return; fi
  fi
  missing+=("a C++ compiler and libclang, for RocksDB: apt-get install clang libclang-dev (or your system's packages)")
}

# Instructions are counted under it.
check_valgrind() {
  have valgrind && return 0
  if [ "$(id -u)" = 0 ] && have apt-get; then
    say "installing valgrind with apt-get: the guard on instruction counts runs under it"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind >/dev/null
    have valgrind && return 0
  fi
  missing+=("valgrind, for the guard on instruction counts: apt-get install valgrind")
}

# Tests of power losses mount a file system of their own: root does it alone, others need a helper of Debian's fuse3.
# Nothing else needs it, so it is only told.
check_fuse() {
  [ "$(uname)" = Linux ] || return 0
  if [ ! -e /dev/fuse ]; then
    say "the tests of power losses need /dev/fuse: modprobe fuse (a container: --device /dev/fuse --cap-add SYS_ADMIN)"
  elif [ "$(id -u)" != 0 ] && ! have fusermount3; then
    say "the tests of power losses need fusermount3, unless root runs them: apt-get install fuse3"
  fi
}

# The dashboard is tested in a real browser.
check_browser() {
  for browser in "${CHROMIUM_BIN:-}" /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome; do
    if [ -n "$browser" ] && [ -x "$browser" ]; then return; fi
  done
  if [ "$(id -u)" = 0 ] && have apt-get; then
    say "installing chromium with apt-get: the dashboard is tested in it"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    [ -x /usr/bin/chromium ] && return
  fi
  missing+=("chromium, for the tests of the dashboard: apt-get install chromium, or set CHROMIUM_BIN")
}

check_npm_packages() {
  have npm || return 0
  # npm writes this file last; it is as new as the last complete installation.
  local installed=node_modules/.package-lock.json
  if [ -f "$installed" ] && [ ! package-lock.json -nt "$installed" ]; then return; fi
  say "installing npm packages: a local Tempo chain (anvil), forge, the Solidity compiler, and real clients for tests"
  npm ci --no-audit --no-fund --loglevel=error
  touch "$installed"
}

check_rust
check_node
check_cxx
check_valgrind
check_fuse
check_browser
if [ "${#missing[@]}" -eq 0 ]; then check_npm_packages; fi

if [ "${#missing[@]}" -ne 0 ]; then
  for what in "${missing[@]}"; do say "missing: $what" >&2; done
  exit 1
fi
say "ready"
