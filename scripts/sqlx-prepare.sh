#!/bin/sh
# Refreshes `.sqlx`, the committed answers by which every query is checked at compile time without a database.
# Needs DATABASE_URL of a scratch database whose schema it may replace; without it, `cargo run --example scratch_database`
# starts a private server for as long as this takes. With --check: fails if the committed files differ from the fresh ones.
set -eu
cd "$(dirname "$0")/.."
if [ -z "${DATABASE_URL:-}" ]; then
    exec cargo run --quiet --example scratch_database -- "$0" "$@"
fi
before=$(mktemp -d)
trap 'rm -rf "$before"' EXIT
cp -R .sqlx "$before/" 2>/dev/null || mkdir -p "$before/.sqlx"
rm -rf .sqlx
mkdir .sqlx
# the macros run again only for sources that changed
touch src/store/*.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$PWD/.sqlx" cargo check --quiet --lib
touch src/store/*.rs
if [ "${1:-}" = --check ]; then
    diff -r "$before/.sqlx" .sqlx || { echo "the committed .sqlx is stale: run scripts/sqlx-prepare.sh and commit" >&2; exit 1; }
fi
