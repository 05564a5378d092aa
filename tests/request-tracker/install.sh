#!/bin/sh
# Installs Request Tracker 5 with an SQLite database from Debian's own packages, for the test that runs smshook against
# the real thing (tests/it/connectors/rt.rs, SMSHOOK_TEST_RT=1). Wants root and Debian 12 and about 800 MB; takes about
# a minute. A second run changes nothing. It must not leave anything running: no service, no cron job, no web server.
# The test starts a server of its own, with a copy of the database that is made here.
set -eu

database=/var/lib/dbconfig-common/sqlite3/request-tracker5/rtdb
server=/usr/share/request-tracker5/libexec/rt-server
packages="rt5-standalone rt5-db-sqlite request-tracker5 dbconfig-sqlite3 sqlite3 starlet"

say() { printf 'request-tracker: %s\n' "$*"; }
stop() { printf 'request-tracker: %s\n' "$*" >&2; exit 1; }

if [ -x "$server" ] && [ -s "$database" ]; then
    say "is installed; its fresh database is $database"
    exit 0
fi
[ "$(id -u)" -eq 0 ] || stop "installing packages needs root: run this script as root"
. /etc/os-release
[ "${ID:-}" = debian ] && [ "${VERSION_ID:-}" = 12 ] ||
    stop "this wants Debian 12 (bookworm), whose packages the answers below are for; here is ${PRETTY_NAME:-another system}"

export DEBIAN_FRONTEND=noninteractive
say "reading the package lists"
apt-get update -qq
command -v debconf-set-selections >/dev/null 2>&1 || apt-get install -y -qq --no-install-recommends debconf

say "answering the questions that the packages ask"
password=$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')
debconf-set-selections <<ANSWERS
request-tracker5 request-tracker5/dbconfig-install boolean true
request-tracker5 request-tracker5/database-type select sqlite3
request-tracker5 request-tracker5/db/basepath string /var/lib/dbconfig-common/sqlite3/request-tracker5
request-tracker5 request-tracker5/db/dbname string rtdb
request-tracker5 request-tracker5/rtname string localhost
request-tracker5 request-tracker5/organization string localhost
request-tracker5 request-tracker5/correspondaddress string rt@localhost.invalid
request-tracker5 request-tracker5/commentaddress string rt-comment@localhost.invalid
request-tracker5 request-tracker5/webbaseurl string http://127.0.0.1
request-tracker5 request-tracker5/handle-siteconfig-permissions boolean true
request-tracker5 request-tracker5/install-cronjobs boolean false
request-tracker5 request-tracker5/initial-root-password password $password
request-tracker5 request-tracker5/initial-root-password-confirm password $password
ANSWERS

# Packages that bring a service would start it. policy-rc.d is Debian's way to forbid that; one that is there stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

say "installing $packages"
# shellcheck disable=SC2086 # the list is to be split
apt-get install -y -qq --no-install-recommends $packages >/dev/null

[ -s "$database" ] || stop "the packages are there, but the database $database is not: run 'dpkg-reconfigure request-tracker5'"
say "done; its fresh database is $database and nothing of it runs"
