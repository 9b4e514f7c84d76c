#!/usr/bin/env bash
# install_consumer.sh BUILD CONSUMER CC PREFIX VERSION: installs into a staged
# root, then builds and runs the consumer project against that, by CMake package
# (shared and static) and by pkg-config (shared and static).
set -euo pipefail
build=$1
consumer=$2
cc=$3
prefix=$4
version=$5

stage=$(mktemp -d)
trap 'rm -rf -- "$stage"' EXIT
DESTDIR=$stage cmake --install "$build" > "$stage/install.log"
root=$stage$prefix
config=$(find "$root" -name clquantConfig.cmake)
pc=$(find "$root" -name clquant.pc)
libraries=$(dirname "$(find "$root" -name 'libclquant.so')")
[[ -n $config && -n $pc ]] || { cat "$stage/install.log"; exit 1; }
for link in libclquant.so "libclquant.so.${version%.*}" "libclquant.so.$version" libclquant.a; do
  [[ -e $libraries/$link ]] || { echo "not installed: $link"; exit 1; }
done
[[ -f $root/include/clquant/clquant.h && -x $root/bin/clq ]] || { cat "$stage/install.log"; exit 1; }
if grep -rl --include='*.cmake' --include='*.pc' -e "$build" -e "$stage" "$root"; then
  echo "^ names a folder of the build"
  exit 1
fi

# no_private FLAGS: the private dependencies' headers are not among them.
no_private() {
  if grep -oE -- '-(I|isystem) ?[^ ]*(cjson|pcre2|xxhash)[^ ]*' <<< "$1"; then
    echo "^ a private dependency reaches whoever uses the package"
    exit 1
  fi
}

cmake -S "$consumer" -B "$stage/consumer" -D "CMAKE_PREFIX_PATH=$root" -D "CMAKE_C_COMPILER=$cc" \
  -D CMAKE_EXPORT_COMPILE_COMMANDS=ON > /dev/null
no_private "$(cat "$stage/consumer/compile_commands.json")"
cmake --build "$stage/consumer" > /dev/null
"$stage/consumer/consumer"
"$stage/consumer/consumer_static"

export PKG_CONFIG_PATH=${pc%/*}
[[ $(pkg-config --modversion clquant) == "$version" ]]
no_private "$(pkg-config --cflags clquant)"
# shellcheck disable=SC2046 # flags are words
"$cc" "$consumer/main.c" -o "$stage/by_pc" $(pkg-config --cflags --libs clquant)
LD_LIBRARY_PATH=$libraries "$stage/by_pc"
# shellcheck disable=SC2046
"$cc" "$consumer/main.c" -o "$stage/by_pc_static" $(pkg-config --cflags clquant) \
  "$libraries/libclquant.a" $(pkg-config --libs --static clquant | sed 's/-lclquant//')
"$stage/by_pc_static"

# The installed command finds its library beside it, wherever the tree stands.
"$root/bin/clq" --version
