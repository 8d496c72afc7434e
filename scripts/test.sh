#!/usr/bin/env bash
# From a fresh clone to the verdict: sets the machine up, fetches the models, builds, and runs the tests.
# Exits with ctest's code; its closing lines are the last thing printed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'U'
usage: scripts/test.sh [--preset NAME] [CTEST-ARGUMENT...]
  --preset NAME     release (default), dev, asan, ubsan or tsan
  CTEST-ARGUMENT    passed on: -L unit, -LE e2e, -R house, --repeat until-fail:10, ...
examples:
  scripts/test.sh
  scripts/test.sh --preset asan -L unit
U
}

preset=release
arguments=()
while [ $# -gt 0 ]; do
  case $1 in
    --preset)
      [ $# -ge 2 ] || { usage >&2; exit 2; }
      preset=$2
      shift
      ;;
    --preset=*) preset=${1#*=} ;;
    -h | --help)
      usage
      exit 0
      ;;
    *) arguments+=("$1") ;;
  esac
  shift
done

say() { printf 'test: %s\n' "$*"; }
stage() { # name command...
  local name=$1 log started=$SECONDS
  shift
  mkdir -p build
  log=build/$name.$preset.log
  if ! "$@" >"$log" 2>&1; then
    tail -n 60 "$log" >&2
    printf 'test: error: %s failed; all of its output is in %s\n' "$name" "$log" >&2
    exit 1
  fi
  say "$name: done in $((SECONDS - started)) s"
}

scripts/setup.sh
scripts/fetch_models.sh --tokenizers
stage configure cmake --preset "$preset"
say "building with $(nproc) jobs"
stage build cmake --build --preset "$preset" --parallel "$(nproc)"
exec ctest --preset "$preset" --parallel "$(nproc)" "${arguments[@]}"
