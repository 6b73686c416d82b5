#!/bin/sh
# The former path of libvirt/enter.sh. Commands in .lab/bin from earlier versions still call it.
exec "$(dirname "$0")/libvirt/enter.sh" "$@"
