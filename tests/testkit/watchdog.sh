# Stops a test server and removes its data when no test process has used it for a while. Tests end in many ways (Ctrl-C and
# SIGKILL among them), so none of them can do it. Arguments: the directory, the seconds to linger, what to remove.
trap '' HUP INT
directory=$1 linger=$2 remove=$3

if command -v flock >/dev/null; then
    try_lock() { flock -n -x 9; }
    unlock() { flock -u 9; }
elif command -v perl >/dev/null; then
    try_lock() { perl -MFcntl=:flock -e 'open F, "<&=9"; exit !flock(F, LOCK_EX | LOCK_NB)'; }
    unlock() { perl -MFcntl=:flock -e 'open F, "<&=9"; flock(F, LOCK_UN)'; }
else
    exit # Nothing to lock with: the server stays, and the next run uses it.
fi

# Every test process holds a shared lock on this file.
exec 9<"$directory/users" || exit
idle=0
while [ -d "$directory/server" ]; do
    sleep 2
    if ! try_lock; then
        idle=0
        continue
    fi
    idle=$((idle + 2))
    if [ "$idle" -lt "$linger" ]; then
        unlock
        continue
    fi
    # The lock is kept until the end: a test process that starts now waits, and then starts a server of its own.
    pid=$(head -n 1 "$directory/server/data/postmaster.pid" 2>/dev/null)
    if [ -n "$pid" ] && ps -ww -o args= -p "$pid" | grep -qF "$directory/server/data"; then
        kill -INT "$pid"
        waited=0
        while [ "$waited" -lt 20 ] && kill -0 "$pid" 2>/dev/null; do
            sleep 1
            waited=$((waited + 1))
        done
    fi
    rm -rf "$remove"
    exit
done
