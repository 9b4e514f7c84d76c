#!/usr/bin/env bash
# exported_symbols.sh LIBRARY INCLUDE CC: the shared library exports exactly what
# the public headers declare with CLQ_API.
set -euo pipefail
library=$1
include=$2
cc=$3

exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sort -u)
# After preprocessing, an API declaration is the only place that has the
# attribute; its name is the last one before the parameter list.
declared=$(for header in "$include"/clquant/*.h; do echo "#include <clquant/${header##*/}>"; done |
  "$cc" -x c -std=c11 -E -P -I "$include" - | tr '\n' ' ' | sed 's/[;}]/\n/g' |
  grep 'visibility("default")' | sed 's/__attribute__ *(([^)]*([^)]*)[^)]*))//g; s/__attribute__ *(([^)]*))//g' |
  grep -o 'clq_[a-z0-9_]* *(' | tr -d ' (' | sort -u)
[[ -n $declared ]] || { echo "no declarations found"; exit 1; }

status=0
if undeclared=$(comm -23 <(echo "$exported") <(echo "$declared") | grep .); then
  printf 'exported, but in no public header: %s\n' "$undeclared"
  status=1
fi
if missing=$(comm -13 <(echo "$exported") <(echo "$declared") | grep .); then
  printf 'declared, but not exported: %s\n' "$missing"
  status=1
fi
echo "$(echo "$declared" | wc -l) functions declared, $(echo "$exported" | wc -l) symbols exported"
exit $status
