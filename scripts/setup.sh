#!/usr/bin/env bash
# Installs what Trireme needs on Debian 12 or Ubuntu 24.04, from the distribution's packages, makes the
# Python environment of the test clients in .cache/venv, and builds the one library that the distribution
# lacks, xgrammar, in .cache/xgrammar. Safe to run again: when nothing is missing it changes nothing and
# takes well under a second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'U'
usage: scripts/setup.sh [--build-only]
  (no flag)      everything: to build, to test (Slurm, Python clients) and to lint (clang)
  --build-only   only what `cmake --build` and running the program need
U
}

build_packages=(
  g++ cmake ninja-build ccache pkg-config ca-certificates procps
  libgrpc++-dev protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libabsl-dev
  libhwy-dev libpcre2-dev nlohmann-json3-dev libyaml-cpp-dev libcli11-dev libssl-dev libboost-dev prometheus-cpp-dev
  openmpi-bin libopenmpi-dev libgtest-dev libgmock-dev libbenchmark-dev
  python3 python3-venv)
test_packages=(slurm-wlm munge iproute2 util-linux)
lint_packages=(clang clang-format clang-tidy)

say() { printf 'setup: %s\n' "$*"; }
fail() {
  printf 'setup: error: %s\n' "$*" >&2
  exit 1
}

packages=("${build_packages[@]}" "${test_packages[@]}" "${lint_packages[@]}")
venv=yes
case "${1:-}" in
  "") ;;
  --build-only)
    packages=("${build_packages[@]}")
    venv=no
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

# The names of the packages that dpkg does not have as installed, one a line.
missing_packages() {
  local installed
  installed=$(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' "${packages[@]}" 2>/dev/null |
    sed -n 's/^ii *//p' || true)
  comm -23 <(printf '%s\n' "${packages[@]}" | sort -u) <(sort -u <<<"$installed")
}

apt() {
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      fail "these packages are missing and need root: ${missing[*]}. Run as root, or install sudo."
    as_root=(sudo)
  fi
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -o Acquire::Retries=3 \
    -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@"
}

install_packages() {
  command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "no apt-get here. Trireme is set up on Debian 12 or Ubuntu 24.04; elsewhere install by hand: ${packages[*]}"
  mapfile -t missing < <(missing_packages)
  if [ ${#missing[@]} = 0 ]; then
    say "${#packages[@]} distribution packages: all installed"
    return
  fi
  say "installing ${#missing[@]} of ${#packages[@]} distribution packages: ${missing[*]}"
  apt update >/dev/null || fail "apt-get update failed: is the package mirror reachable?"
  apt install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    fail "apt-get install failed; run it by hand to see why: apt-get install ${missing[*]}"
  mapfile -t missing < <(missing_packages)
  [ ${#missing[@]} = 0 ] || fail "still missing after apt-get install: ${missing[*]}"
  say "packages installed"
}

make_venv() {
  local stamp=.cache/venv/requirements.installed
  if cmp -s scripts/requirements.txt "$stamp" && [ -x .cache/venv/bin/python ]; then
    say "Python environment .cache/venv: up to date"
    return
  fi
  say "making the Python environment .cache/venv from scripts/requirements.txt"
  mkdir -p .cache
  rm -f "$stamp"
  python3 -m venv --clear .cache/venv || fail "python3 -m venv failed: is python3-venv installed for $(command -v python3)?"
  .cache/venv/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    -r scripts/requirements.txt || fail "pip could not install scripts/requirements.txt: is PyPI reachable?"
  cp scripts/requirements.txt "$stamp"
  say "Python environment made"
}

install_packages
[ "$venv" = no ] || make_venv
scripts/build_xgrammar.sh
