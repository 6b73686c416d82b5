#!/bin/sh
# The place of libvirt/enter.sh in earlier versions: commands in .lab/bin that were written then still call it here.
exec "$(dirname "$0")/libvirt/enter.sh" "$@"
