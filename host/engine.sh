#!/bin/sh
# The former path of engine/engine.sh. Commands in .lab/bin from earlier versions still call it.
exec "$(dirname "$0")/engine/engine.sh" "$@"
