#!/bin/sh
# The place of engine/engine.sh in earlier versions: commands in .lab/bin that were written then still call it here.
exec "$(dirname "$0")/engine/engine.sh" "$@"
