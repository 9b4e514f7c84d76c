#!/usr/bin/env bash
# readme_example.sh README INCLUDE CC: every C block of the README compiles as it stands, without a
# warning.
set -euo pipefail
readme=$1
include=$2
cc=$3
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
awk -v folder="$folder" '
  /^```c$/ { file = folder "/block" ++count ".c"; next }
  /^```/ { file = "" }
  file != "" { print > file }' "$readme"
blocks=0
for block in "$folder"/block*.c; do
  "$cc" -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Wunused-result -Werror -I "$include" \
    -fsyntax-only "$block"
  blocks=$((blocks + 1))
done
((blocks > 0))
