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

declare -A certificates_printed=() # paths

# Prints the certificates in the files of a manifest, without the keys beside them. Each file has one line, the first time
# only: certificate, SERVICE, PATH and PEM, separated by tabs, and with | instead of each line break. A kubeconfig names
# the client certificate that the cluster issues, which is in no manifest.
#
#   print_certificates MANIFEST SERVICE
print_certificates() { for_each_artifact "$1" print_certificates_of_artifact "$2"; }

print_certificates_of_artifact() { if [ "$2" = file ]; then print_certificates_of_file "$1" "$7"; fi; }

print_certificates_of_file() {
  local line text='' inside='' named=''
  if [ -n "${certificates_printed[$2]:-}" ] || [ ! -f "$2" ]; then return 0; fi
  certificates_printed[$2]=yes
  while IFS= read -r line || [ -n "$line" ]; do
    if [[ $line == *-BEGIN\ CERTIFICATE-* ]]; then inside=yes; fi
    if [ -n "$inside" ]; then text+="${line//[$'\t\r']/ }|"; fi
    if [[ $line == *-END\ CERTIFICATE-* ]]; then inside=; fi
    if [[ $line =~ ^[[:space:]]+client-certificate:[[:space:]]+(/.*[^[:space:]]) ]]; then named=${BASH_REMATCH[1]}; fi
  done <"$2"
  if [ -n "$text" ]; then printf 'certificate\t%s\t%s\t%s\n' "$1" "$2" "$text"; fi
  if [ -n "$named" ]; then print_certificates_of_file "$1" "$named"; fi
}
