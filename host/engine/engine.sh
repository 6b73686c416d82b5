#!/bin/sh
# Runs the engine, after what one that was killed has left in the checkout's own backend is settled.
# Usage: engine.sh CHECKOUT BACKEND_URL PYTHON PULUMI [ARGUMENT…]
set -eu

checkout=$1
backend=$2
python=$3
pulumi=$4
shift 4
state=$checkout/.lab/state

# Whether one of the arguments is a command that changes a stack.
changes() {
    for argument; do
        case $argument in
            up | update | destroy | down | dn | refresh | import | rm | cancel) return 0 ;;
        esac
    done
    return 1
}

# Whether one of the arguments is of a command that makes a stack, which fails where a killed one has left its lock.
makes() {
    for argument; do
        case $argument in
            init | new | --create) return 0 ;;
        esac
    done
    return 1
}

# Whether a lock or a pending operation is there: of an engine that was killed, or of one that runs.
unsettled() {
    for lock in "$state"/.pulumi/locks/*/*/*/*.json "$state"/.pulumi/locks/*/*/*/*.tmp; do
        if [ -e "$lock" ]; then return 0; fi
    done
    grep -qs '"pending_operations": *\[{' "$state"/.pulumi/stacks/*/*.json
}

# Whether an engine was killed over a file of the state, which even commands that only read can't read then.
torn() {
    [ -n "$(find "$state/.pulumi" -name '*.attrs' -empty 2>/dev/null)" ]
}

settle() {
    (cd "$(dirname "$0")/../.." && "$python" -m hardway settle "$checkout" "$pulumi" "$@" >&2 </dev/null)
}

if [ "${PULUMI_BACKEND_URL:-}" = "$backend" ]; then
    if changes "$@"; then
        if unsettled || torn; then settle; fi
    elif torn || { makes "$@" && unsettled; }; then
        settle --state-only
    fi
fi

# The engine and its plugins run for seconds each and hold little: with Go's own setting a tenth of their time goes into
# collecting garbage. Who has set it otherwise keeps that.
export GOGC="${GOGC:-400}"

# Start time and boot make the process's id a name that nobody else can have (system/processes.py).
read -r boot </proc/sys/kernel/random/boot_id
stat=$(cat "/proc/$$/stat")
# shellcheck disable=SC2086 # the fields after the program's name, of which the 20th is its start time
started=$(set -f && set -- ${stat##*)} && echo "${20}")
HARDWAY_ENGINE="$$ $started $boot" exec "$pulumi" "$@"
