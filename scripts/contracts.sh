#!/usr/bin/env bash
# Works on the contracts with the forge of node_modules, offline.
#
#   scripts/contracts.sh build       compile
#   scripts/contracts.sh test [...]  run the contracts' tests and invariants; more arguments go to forge
#   scripts/contracts.sh artifacts   write contracts/artifacts from the sources
#   scripts/contracts.sh check       fail when contracts/artifacts differ from what the sources compile to
#   scripts/contracts.sh gas         fail when a call costs other gas than contracts/gas.snapshot says
#   scripts/contracts.sh gas-write   write contracts/gas.snapshot
#   scripts/contracts.sh deploy NAME [...]   deploy TempoStreamChannel or Batch; more arguments go to `forge create`,
#                                    such as --rpc-url URL --account KEYSTORE --broadcast --constructor-args 0x...
#   scripts/contracts.sh fmt [...]   format the Solidity sources
set -euo pipefail
root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root/contracts"

forge() {
  local binary="$root/node_modules/@foundry-rs/forge-linux-amd64/bin/forge"
  if [ ! -x "$binary" ]; then
    echo "contracts: forge is missing in node_modules; run scripts/setup.sh" >&2
    exit 1
  fi
  "$binary" "$@"
}

# Writes what the repository keeps of the compilation into the directory $1: the bytecode of both escrows as
# hex, one line a file, and the ABI of their interfaces.
write_artifacts() {
  local out
  out="$(mktemp -d)"
  # Expands now: `out` is local, the trap is not.
  # shellcheck disable=SC2064
  trap "rm -rf '$out'" EXIT
  forge build --force --skip test --out "$out" --cache-path "$out/cache" >/dev/null
  mkdir -p "$1"
  OUT="$out" TO="$1" node -e '
    const fs = require("fs");
    const { OUT, TO } = process.env;
    const read = (name) => JSON.parse(fs.readFileSync(`${OUT}/${name}.sol/${name}.json`, "utf8"));
    for (const name of ["TIP20ChannelReserve", "TempoStreamChannel", "Batch", "PlainToken"]) {
      const { bytecode, deployedBytecode } = read(name);
      fs.writeFileSync(`${TO}/${name}.creation.hex`, bytecode.object.slice(2) + "\n");
      fs.writeFileSync(`${TO}/${name}.runtime.hex`, deployedBytecode.object.slice(2) + "\n");
    }
    const bare = (key, value) => (key === "internalType" ? undefined : value);
    for (const name of ["ITIP20ChannelReserve", "ITempoStreamChannel", "Batch"]) {
      const entries = read(name).abi.map((entry) => "  " + JSON.stringify(entry, bare));
      fs.writeFileSync(`${TO}/${name}.abi.json`, "[\n" + entries.join(",\n") + "\n]\n");
    }'
}

case "${1:-}" in
  build) forge build ;;
  test)
    shift
    forge test "$@"
    ;;
  fmt)
    shift
    forge fmt "$@"
    ;;
  gas) forge snapshot --match-contract ReserveGasTest --check gas.snapshot >/dev/null || {
    echo "contracts: a call costs other gas than contracts/gas.snapshot says; look why, then scripts/contracts.sh gas-write" >&2
    exit 1
  } ;;
  gas-write) forge snapshot --match-contract ReserveGasTest --snap gas.snapshot >/dev/null ;;
  deploy)
    name="${2:?the name of a contract: TempoStreamChannel or Batch}"
    shift 2
    # Only what the artifacts say is deployed: a changed source is told apart before anything is sent.
    "$root/scripts/contracts.sh" check
    forge create "src/$name.sol:$name" "$@"
    ;;
  artifacts) write_artifacts artifacts ;;
  check)
    fresh="$(mktemp -d)"
    write_artifacts "$fresh"
    status=0
    diff -rq "$fresh" artifacts >&2 || status=1
    rm -rf "$fresh"
    if [ "$status" -ne 0 ]; then
      echo "contracts: artifacts are stale; run scripts/contracts.sh artifacts and commit the result" >&2
      exit 1
    fi
    echo "contracts: artifacts match the sources"
    ;;
  *)
    sed -n '2,12s/^# \{0,1\}//p' "$root/scripts/contracts.sh" >&2
    exit 2
    ;;
esac
