#!/usr/bin/env bash
# Checks the form of the code: the house (house.py), clang-format, and with --tidy clang-tidy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

usage() {
  cat <<'U'
usage: scripts/lint/run.sh [--fix] [--tidy [BASE]]
  (no flag)      the house and the format of every C++ file
  --fix          rewrites files in the right format instead of complaining
  --tidy [BASE]  also clang-tidy on the .cc files changed since BASE (a commit), or on all of them
Reads build/release/compile_commands.json: run `cmake --preset release` first.
U
}

fix=no
tidy=no
base=""
while [ $# -gt 0 ]; do
  case $1 in
    --fix) fix=yes ;;
    --tidy)
      tidy=yes
      if [ $# -ge 2 ] && [ "${2#-}" = "$2" ]; then
        base=$2
        shift
      fi
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
  shift
done

failed=0
python3 scripts/lint/house.py || failed=1

mapfile -t sources < <(git ls-files --cached --others --exclude-standard '*.cc' '*.h' '*.cu' '*.cuh')
if [ "$fix" = yes ]; then
  clang-format -i "${sources[@]}"
else
  clang-format --dry-run --Werror "${sources[@]}" || failed=1
fi
echo "lint: format of ${#sources[@]} files checked"

if [ "$tidy" = yes ]; then
  if [ -n "$base" ]; then
    mapfile -t units < <(git diff --name-only --diff-filter=d "$base" -- '*.cc')
  else
    mapfile -t units < <(git ls-files '*.cc')
  fi
  echo "lint: clang-tidy on ${#units[@]} files"
  # The build's flags are GCC's: what clang does not know of them is no finding.
  [ ${#units[@]} = 0 ] || printf '%s\0' "${units[@]}" |
    xargs -0 -n 1 -P "$(nproc)" clang-tidy --quiet -p build/release \
      --extra-arg=-Wno-unknown-warning-option || failed=1
fi
exit "$failed"
