#!/usr/bin/env bash
# Builds the C++ library of xgrammar (grammar-constrained decoding, Apache-2.0) into .cache/xgrammar: headers in
# include/, libxgrammar.a in lib/. The pinned source comes from PyPI, and pip checks its SHA-256 before anything in
# it is used. No Python binding, no torch. Takes about a minute on two cores; does nothing when it is there already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=0.2.8
sha256=8305646fd2b319d6c3003f51a1665e54cbbe9cba1fb636bc41d0b46434ccbb80
# -fno-lto: so that clang links it too. -w: its warnings are not ours to mend. LOG_CUSTOMIZE: what it has to say goes
# to runtime/sampling/grammar instead of stderr.
flags="-fno-lto -w -DXGRAMMAR_LOG_CUSTOMIZE=1"

say() { printf 'xgrammar: %s\n' "$*"; }
fail() {
  printf 'xgrammar: error: %s\n' "$*" >&2
  exit 1
}

target=.cache/xgrammar
wanted="$version $sha256 $flags"
if [ -f "$target/lib/libxgrammar.a" ] && [ "$(cat "$target/installed" 2>/dev/null)" = "$wanted" ]; then
  say "$target: version $version, up to date"
  exit 0
fi

mkdir -p .cache
work=$(mktemp -d "$PWD/.cache/xgrammar.build.XXXXXX")
trap 'rm -rf "$work"' EXIT

python=.cache/venv/bin/python
if ! "$python" -m pip --version >/dev/null 2>&1; then
  python3 -m venv "$work/venv" || fail "python3 -m venv failed: is python3-venv installed?"
  python=$work/venv/bin/python
fi
say "downloading the source of xgrammar $version from PyPI"
printf 'xgrammar==%s --hash=sha256:%s\n' "$version" "$sha256" >"$work/requirements.txt"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary xgrammar --require-hashes \
  --dest "$work" -r "$work/requirements.txt" ||
  fail "pip could not download xgrammar==$version with SHA-256 $sha256: is PyPI reachable?"
archive=$work/xgrammar-$version.tar.gz
[ "$(sha256sum "$archive" | cut -d ' ' -f 1)" = "$sha256" ] || fail "$archive has not SHA-256 $sha256"
tar -xzf "$archive" -C "$work"

say "building it with $(nproc) jobs, about a minute on two cores"
cat >"$work/config.cmake" <<'C'
set(XGRAMMAR_BUILD_PYTHON_BINDINGS OFF)
set(XGRAMMAR_BUILD_CXX_TESTS OFF)
set(XGRAMMAR_ENABLE_CPPTRACE OFF)
set(XGRAMMAR_ENABLE_INTERNAL_CHECK OFF)
C
mkdir "$work/build"
mv "$work/config.cmake" "$work/build/"
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache)
{
  CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1 cmake -S "$work/xgrammar-$version" -B "$work/build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release "-DCMAKE_CXX_FLAGS=$flags" -DCMAKE_INSTALL_PREFIX="$work/installed" \
    -DCMAKE_INSTALL_LIBDIR=lib "${launcher[@]}" &&
    CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1 cmake --build "$work/build" --parallel "$(nproc)" &&
    cmake --install "$work/build"
} >"$work/log" 2>&1 || {
  tail -n 40 "$work/log" >&2
  fail "the build of xgrammar $version failed; its last lines are above"
}
cp "$work/xgrammar-$version/LICENSE" "$work/xgrammar-$version/NOTICE" "$work/installed/"
printf '%s\n' "$wanted" >"$work/installed/installed"
rm -rf "$target"
mv "$work/installed" "$target"
say "$target: version $version built"
