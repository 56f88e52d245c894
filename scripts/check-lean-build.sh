#!/usr/bin/env bash
# A service that only verifies vouchers builds farebox-engine without its features. Checks that this works and links
# no runtime, no database and no chain client.
set -euo pipefail
cd "$(dirname "$0")/.."

echo "lean build: farebox-engine without features"
for package in farebox-engine farebox; do
    unwanted=$(cargo tree --locked --package "$package" --no-default-features --edges normal,build --prefix none |
        grep -E '^(tokio|rocksdb|librocksdb-sys|hyper|alloy|reqwest) ' || true)
    if [[ -n "$unwanted" ]]; then
        echo "lean build: $package without features links what it must not:" >&2
        echo "$unwanted" >&2
        exit 1
    fi
done
# Who does not charge by Stripe does not link what does.
if cargo tree --locked --package farebox --edges normal,build --prefix none | grep -E '^mpp ' >/dev/null; then
    echo "lean build: farebox links mpp without the feature charge" >&2
    exit 1
fi
cargo check --locked --quiet --package farebox-engine --no-default-features
echo "lean build: ok"
