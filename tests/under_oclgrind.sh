#!/usr/bin/env bash
# under_oclgrind.sh PROGRAM FILTER: runs the Criterion cases that match FILTER on
# Oclgrind, a simulated device that checks every access, and passes if they pass
# and Oclgrind has nothing to say. (--uninitialized is left out: version 21.10
# crashes with it on vectors.) Exit 77 (skipped) without Oclgrind, 1 if CI=true.
set -euo pipefail
program=$1
filter=$2
if ! command -v oclgrind > /dev/null; then
  echo "no oclgrind"
  [[ ${CI-} == true ]] && exit 1
  exit 77
fi
log=$(mktemp)
trap 'rm -f -- "$log" "$log.out"' EXIT
# Built kernels of another implementation are not what is tested here.
export CLQ_CACHE_DIR=off
unset LD_LIBRARY_PATH OCL_ICD_VENDORS
# Oclgrind's own exit code is 0 whatever it found; its log tells.
oclgrind --data-races --log "$log" "$program" --jobs=1 --filter "$filter" 2>&1 | tee "$log.out"
if [[ -s $log ]]; then
  head -n 60 "$log"
  exit 1
fi
# A filter that matches no case would pass unseen.
grep -q 'Tested: [1-9]' "$log.out" || { echo "no case matches $filter"; exit 1; }
