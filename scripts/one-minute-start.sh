#!/bin/sh
# The README's one-minute start, for real: `./dev run` in a data directory of its own, a text sent to it, its row read by SQL,
# SIGTERM, exit 0. Fails if any of it does not work.
set -eu
cd "$(dirname "$0")/.."
home=$(mktemp -d)
chmod 755 "$home"
trap 'kill "$service" 2>/dev/null || true; rm -rf "$home"' EXIT
unset SMSHOOK_CONFIG DATABASE_URL
export SMSHOOK_DATA_DIR="$home/data" SMSHOOK_LISTEN=127.0.0.1:18080 SMSHOOK_ADMIN_LISTEN=127.0.0.1:18081
./dev run >"$home/log" 2>&1 &
service=$!
tries=0
until target/release/smshook healthcheck 2>/dev/null; do
    kill -0 "$service" 2>/dev/null || { cat "$home/log"; echo 'the service ended' >&2; exit 1; }
    tries=$((tries + 1))
    [ "$tries" -lt 1800 ] || { cat "$home/log"; echo 'the service did not come up' >&2; exit 1; }
    sleep 1
done
target/release/smshook send --text "hours" --from +15551230001
query=$(sed -n 's/^ *look at the data  *\(psql .*\) -c .*$/\1/p' "$home/log")
[ -n "$query" ] || { cat "$home/log"; echo 'no psql line was printed' >&2; exit 1; }
if command -v psql >/dev/null; then
    eval "$query -c 'select sender, text, rule, duplicates from v1.messages'"
    eval "$query -c 'select action, state, result from v1.jobs'" | tee "$home/jobs"
    grep -q 'We are open Mon-Sat 9-6' "$home/jobs"
fi
target/release/smshook jobs show 1
kill "$service"
wait "$service"
