#!/usr/bin/env bash
# lint_kernels.sh KERNELS_CL: compiles every kernel file alone, with its default
# macros and as for a CPU, for the three families of device that clang knows, as
# OpenCL C 1.2 and 3.0. Exit 77 (skipped) without a clang that is new enough, 1 if CI=true.
set -euo pipefail
kernels=$1

clang=${CLQ_CLANG-}
for candidate in clang-22 clang-21 clang-20 clang-19 clang; do
  [[ -n $clang ]] || clang=$(command -v "$candidate" || true)
done
if [[ -z $clang ]]; then
  echo "no clang: install clang-22"
  [[ ${CI-} == true ]] && exit 1
  exit 77
fi

shopt -s nullglob
files=("$kernels"/*.cl)
if ((${#files[@]} == 0)); then
  echo "no kernels in $kernels"
  exit 77
fi
# Variants of a kernel share arguments and functions, and none uses all of them.
warnings=(-Wall -Wextra -Wshadow -Wdouble-promotion -Wundef -Wno-unused -Wno-unused-parameter -Werror)
failures=0
for file in "${files[@]}"; do
  for standard in CL1.2 CL3.0; do
    for target in "spir64" "spir64 -DCLQ_ON_CPU=1" "nvptx64" "amdgcn -mcpu=gfx1100 -nogpulib"; do
      # shellcheck disable=SC2086 # a target is words
      if ! "$clang" -x cl -cl-std=$standard -target $target -I "$kernels" -fsyntax-only \
        "${warnings[@]}" "$file"; then
        echo "^ ${file##*/}, $standard, $target"
        failures=$((failures + 1))
      fi
    done
  done
done
echo "${#files[@]} files with $("$clang" --version | head -n 1): $failures failures"
((failures == 0))
