#!/usr/bin/env bash
# counted_calls.sh LIBRARY CALL...: every OpenCL call with which the library makes,
# retains or releases an object is among the CALLs, those that the tests count.
set -euo pipefail
library=$1
shift
used=$(nm -u "$library" | grep -oE '\<cl(Create|Retain|Release|Enqueue|Link|Clone)[A-Za-z]*' | sort -u)
[[ -n $used ]] || { echo "$library calls no OpenCL"; exit 1; }
uncounted=$(comm -23 <(printf '%s\n' "$used") <(printf '%s\n' "$@" | sort -u))
if [[ -n $uncounted ]]; then
  echo "not counted in tests/support/opencl.c:"
  printf '%s\n' "$uncounted"
  exit 1
fi
