#!/usr/bin/env bash
# Builds llama.cpp, which scripts/bench/compare.py measures Trireme against, into .cache/peers/llama.cpp: the programs
# llama-bench, llama-batched-bench and llama-quantize, for this machine's own CPU, from the pinned source on PyPI, whose
# SHA-256 is checked before anything in it is built. Takes 15 to 40 minutes of one core; does nothing when it is there.
# Also makes the Python environment of compare.py and make_gguf.py, .cache/peers/venv, from scripts/bench/requirements.txt.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

version=0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
flags="-DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF
  -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_WEBUI=OFF"
programs=(llama-bench llama-batched-bench llama-quantize)

usage() {
  cat <<'U'
usage: scripts/bench/build_peers.sh [--jobs N]
  --jobs N   compile N files at once (default: one a core)
U
}

say() { printf 'peers: %s\n' "$*"; }
fail() {
  printf 'peers: error: %s\n' "$*" >&2
  exit 1
}

jobs=$(nproc)
while [ $# -gt 0 ]; do
  case "$1" in
    --jobs)
      [ $# -ge 2 ] || fail "--jobs wants a number"
      jobs=$2
      shift 2
      ;;
    -h | --help)
      usage
      exit 0
      ;;
    *)
      usage >&2
      exit 2
      ;;
  esac
done

peers=$PWD/.cache/peers
mkdir -p "$peers/src"
if ! cmp -s scripts/bench/requirements.txt "$peers/venv/requirements.installed"; then
  say "making the Python environment .cache/peers/venv"
  python3 -m venv --clear "$peers/venv" || fail "python3 -m venv failed: is python3-venv installed?"
  "$peers/venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    -r scripts/bench/requirements.txt || fail "pip could not install scripts/bench/requirements.txt: is PyPI reachable?"
  cp scripts/bench/requirements.txt "$peers/venv/requirements.installed"
fi
target=$peers/llama.cpp
wanted="$version $sha256 $flags"
if [ "$(cat "$target/installed" 2>/dev/null)" = "$wanted" ]; then
  say "llama.cpp of llama-cpp-python $version: up to date"
  exit 0
fi

archive=$peers/src/llama_cpp_python-$version.tar.gz
if [ ! -f "$archive" ]; then
  say "downloading the source of llama-cpp-python $version from PyPI"
  printf 'llama-cpp-python==%s --hash=sha256:%s\n' "$version" "$sha256" >"$peers/src/requirements.txt"
  "$peers/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary llama-cpp-python \
    --require-hashes --dest "$peers/src" -r "$peers/src/requirements.txt" ||
    fail "pip could not download llama-cpp-python==$version: is PyPI reachable?"
fi
[ "$(sha256sum "$archive" | cut -d ' ' -f 1)" = "$sha256" ] || fail "$archive has not SHA-256 $sha256"
tree=$peers/src/llama_cpp_python-$version/vendor/llama.cpp
[ -d "$tree" ] || tar -xzf "$archive" -C "$peers/src"

say "building ${programs[*]} with $jobs jobs; what is said goes to $peers/llama.cpp.log"
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache -DCMAKE_C_COMPILER_LAUNCHER=ccache)
# shellcheck disable=SC2086  # flags are words
{
  cmake -S "$tree" -B "$peers/build/llama.cpp" -G Ninja -DCMAKE_BUILD_TYPE=Release $flags "${launcher[@]}" &&
    cmake --build "$peers/build/llama.cpp" --parallel "$jobs" --target "${programs[@]}"
} >"$peers/llama.cpp.log" 2>&1 || {
  tail -n 30 "$peers/llama.cpp.log" >&2
  fail "the build of llama.cpp failed; its last lines are above"
}
mkdir -p "$target"
for program in "${programs[@]}"; do
  cp "$peers/build/llama.cpp/bin/$program" "$target/"
done
printf '%s\n' "$wanted" >"$target/installed"
say "$target: built"
