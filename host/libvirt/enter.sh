#!/bin/sh
# Run a command where the lab's VMs can be reached: inside the private libvirt's namespaces. Start the private libvirt
# first if it does not run, as after a reboot. Usage: enter.sh INSTANCE PYTHON COMMAND [ARGUMENT…]
#
# The last step replaces this shell, and nsenter forks nothing for these namespaces: standard input, terminal, signals
# and exit code are the command's own.
set -eu

instance=$1
python=$2
shift 2

# Already inside: a program that runs inside starts another one. The inside of another lab is another place.
if [ "${HARDWAY_NAMESPACE:-}" = "$instance/outside" ]; then
    exec "$@"
fi

# Set `holder` to the process that holds the namespaces. Fail if the recorded process does not run any more.
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
        echo "hardway: the private libvirt in $instance has ended, or you may not access it; see $instance/holder.log" >&2
        exit 1
    }
fi

if [ -z "$as_root" ]; then
    exec nsenter --target "$holder" --mount --net --wdns="$PWD" -- env HARDWAY_NAMESPACE="$instance/outside" "$@"
fi
# Only root can enter; the command itself runs as this user. sudo sets another PATH, so set ours again.
exec sudo --preserve-env nsenter --target "$holder" --mount --net --wdns="$PWD" -- \
    setpriv --reuid "$(id -u)" --regid "$(id -g)" --init-groups -- \
    env HARDWAY_NAMESPACE="$instance/outside" PATH="$PATH" HOME="$HOME" "$@"
