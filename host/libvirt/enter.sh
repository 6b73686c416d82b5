#!/bin/sh
# Runs a command where the lab's VMs can be reached: inside the private hypervisor's namespaces. It starts the hypervisor
# first where it doesn't run (the machine was rebooted). Usage: enter.sh INSTANCE PYTHON COMMAND [ARGUMENT…]
#
# The last step replaces this shell, and nsenter forks nothing for these namespaces: standard input, terminal, signals
# and exit code are the command's own.
set -eu

instance=$1
python=$2
shift 2

# Inside already: a program that was entered calls another one. Another lab's inside is not this one's.
if [ "${HARDWAY_NAMESPACE:-}" = "$instance/outside" ]; then
    exec "$@"
fi

# Sets `holder` to the process that holds the namespaces; fails where the recorded one is not the one running now.
find_holder() {
    read -r holder started boot 2>/dev/null <"$instance/holder" || return 1
    read -r current </proc/sys/kernel/random/boot_id
    [ "$boot" = "$current" ] || return 1
    stat=$(cat "/proc/$holder/stat" 2>/dev/null) || return 1
    # shellcheck disable=SC2086 # the fields after the program's name, of which the 20th is its start time
    set -- ${stat##*)}
    [ "$1" != Z ] && [ "${20}" = "$started" ]
}

as_root=
if [ "$(id -u)" -ne 0 ]; then
    as_root="sudo --preserve-env"
fi

if ! find_holder; then
    (cd "$(dirname "$0")/../.." && $as_root "$python" -m hardway hypervisor start "$instance" >&2 </dev/null)
    find_holder || {
        echo "hardway: the private hypervisor in $instance has ended, or may not be looked at by you: see its holder.log" >&2
        exit 1
    }
fi

if [ -z "$as_root" ]; then
    exec nsenter --target "$holder" --mount --net --wdns="$PWD" -- env HARDWAY_NAMESPACE="$instance/outside" "$@"
fi
# Root only to go in: the command itself runs as who called it. sudo has a PATH of its own.
exec sudo --preserve-env nsenter --target "$holder" --mount --net --wdns="$PWD" -- \
    setpriv --reuid "$(id -u)" --regid "$(id -g)" --init-groups -- \
    env HARDWAY_NAMESPACE="$instance/outside" PATH="$PATH" HOME="$HOME" "$@"
