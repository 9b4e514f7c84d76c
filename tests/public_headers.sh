#!/usr/bin/env bash
# public_headers.sh INCLUDE CC: every public header compiles alone, as C11 and as
# C++, and asks for nothing but OpenCL's headers.
set -euo pipefail
include=$1
cc=$2
cxx=${CXX:-c++}
warnings=(-Wall -Wextra -Wpedantic -Wundef -Wconversion -Werror)
languages=("$cc -x c -std=c11 -Wstrict-prototypes")
if command -v "$cxx" > /dev/null; then
  languages+=("$cxx -x c++ -std=c++11" "$cxx -x c++ -std=c++20")
else
  echo "no C++ compiler: only C is tried"
  [[ ${CI-} != true ]] || exit 1
fi

failures=0
for header in "$include"/clquant/*.h; do
  for language in "${languages[@]}"; do
    # shellcheck disable=SC2086 # a language is words
    if ! echo "#include <clquant/${header##*/}>" |
      $language "${warnings[@]}" -I "$include" -fsyntax-only -; then
      echo "^ ${header##*/}, $language"
      failures=$((failures + 1))
    fi
  done
done
((failures == 0))
