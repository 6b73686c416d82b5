# shellcheck shell=bash
# Reads the manifest of a service. Programs source this file; it is not a program itself.
#
# A manifest has one line for each file, binary and image of a service. The fields are separated by tabs:
#   kind     file, binary or image
#   effect   restart    a change restarts the service
#            keep       a change does not restart it
#            transient  the file exists only until the service is healthy
#   mode, owner, SHA-256
#   path     of an image: its reference

# Calls a function for each line of a manifest, with the six fields as its last arguments. A manifest that does not exist
# has no lines.
#
#   for_each_artifact MANIFEST FUNCTION [ARGUMENT…]
for_each_artifact() {
  local -a fields
  [ -e "$1" ] || return 0
  while IFS=$'\t' read -r -a fields; do "${@:2}" "${fields[@]}"; done <"$1"
}

# Succeeds if a manifest lists a path. Matches text instead of calling a function for each line, because `service` searches
# the manifests of all services.
#
#   manifest_lists MANIFEST PATH
manifest_lists() {
  local text=''
  if [ -e "$1" ]; then IFS= read -r -d '' text <"$1" || true; fi
  [[ $text == *$'\t'"$2"$'\n'* ]]
}

# Prints the config hash of a manifest: the SHA-256 of its lines with the effect restart. `lab.node.service.config_hash`
# computes the same.
#
#   config_hash MANIFEST
config_hash() {
  local line sum
  read -r sum _ < <(
    while IFS= read -r line; do
      if [[ $line == *$'\trestart\t'* ]]; then printf '%s\n' "$line"; fi
    done <"$1" | sha256sum
  )
  printf %s "$sum"
}
