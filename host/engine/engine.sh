#!/bin/sh
# Run the engine, after recovering from a killed one in the checkout's own backend.
# Usage: engine.sh CHECKOUT BACKEND_URL PYTHON PULUMI [ARGUMENT…]
set -eu

checkout=$1
backend=$2
python=$3
pulumi=$4
shift 4
state=$checkout/.lab/state

# Succeed if one of the arguments is a command that changes a stack.
changes_stack() {
    for argument; do
        case $argument in
            up | update | destroy | down | dn | refresh | import | rm | cancel) return 0 ;;
        esac
    done
    return 1
}

# Succeed if one of the arguments belongs to a command that creates a stack. It fails on the lock of a killed engine.
creates_stack() {
    for argument; do
        case $argument in
            init | new | --create) return 0 ;;
        esac
    done
    return 1
}

# Succeed if there is a lock or a pending operation, of a killed engine or of a running one.
has_lock_or_pending() {
    for lock in "$state"/.pulumi/locks/*/*/*/*.json "$state"/.pulumi/locks/*/*/*/*.tmp; do
        if [ -e "$lock" ]; then return 0; fi
    done
    grep -qs '"pending_operations": *\[{' "$state"/.pulumi/stacks/*/*.json
}

# Succeed if an engine was killed while it wrote a file of the state. Not even commands that only read work then.
has_torn_file() {
    [ -n "$(find "$state/.pulumi" -name '*.attrs' -empty 2>/dev/null)" ]
}

# Succeed if a stack file lacks the salt that the state has, as after `git checkout`. The engine would write it into the
# file, which Git would then list as changed.
lacks_salt() {
    for file in "$state"/.pulumi/stacks/*/*.json; do
        name=${file##*/}
        configuration=$checkout/Pulumi.${name%.json}.yaml
        if [ -e "$configuration" ] && ! grep -q '^encryptionsalt:' "$configuration" && grep -q '"salt": *"' "$file"; then
            return 0
        fi
    done
    return 1
}

recover() {
    (cd "$(dirname "$0")/../.." && "$python" -m hardway recover "$checkout" "$pulumi" "$@" >&2 </dev/null)
}

# Succeed if one of the arguments is the command that deletes everything.
destroys() {
    for argument; do
        case $argument in
            destroy | down | dn) return 0 ;;
        esac
    done
    return 1
}

if [ "${PULUMI_BACKEND_URL:-}" = "$backend" ]; then
    if changes_stack "$@" && { has_lock_or_pending || has_torn_file; }; then
        recover
    elif has_torn_file || lacks_salt || { creates_stack "$@" && has_lock_or_pending; }; then
        recover --state-only
    fi
fi

# A lab that is deleted needs no data of etcd (components/keep_etcd_data.py).
if destroys "$@"; then export HARDWAY_DESTROYS=yes; fi

# The engine and its plugins run for seconds and hold little memory. With Go's default they spend a tenth of their time
# on garbage collection. A value that the user has set stays.
export GOGC="${GOGC:-400}"

# PID, start time and boot ID identify this process, because PIDs are reused (system/processes.py).
read -r boot </proc/sys/kernel/random/boot_id
stat=$(cat "/proc/$$/stat")
# shellcheck disable=SC2086 # the fields after the program's name, of which the 20th is its start time
started=$(set -f && set -- ${stat##*)} && echo "${20}")

# A lock names only a machine and a PID, and machines can have the same name (shared.py).
engines=$checkout/.lab/engines
if [ "${PULUMI_BACKEND_URL:-$backend}" != "$backend" ] && changes_stack "$@" && [ -w "$checkout/.lab" ]; then
    mkdir -p "$engines"
    find "$engines" -type f -mtime +30 -delete
    echo "$$ $started $boot" >"$engines/$$"
fi

HARDWAY_ENGINE="$$ $started $boot" exec "$pulumi" "$@"
