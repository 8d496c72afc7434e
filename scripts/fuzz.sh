#!/usr/bin/env bash
# Builds the fuzz targets of tests/fuzz with clang (preset `fuzz`: libFuzzer, address and undefined-behaviour
# sanitizers) and runs each for a while from its corpus. What it finds, and what is new in coverage, is left in
# build/fuzz/found/TARGET; a finding ends with exit code 1 and the input's path. Put such an input into
# tests/fuzz/corpus/TARGET once it is mended: every build replays the corpus.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  echo "usage: scripts/fuzz.sh [SECONDS [TARGET…]]     60 s each; targets: $(names | tr '\n' ' ')"
}
names() { for file in tests/fuzz/*_fuzz.cc; do basename "$file" _fuzz.cc; done; }

seconds=${1:-60}
case "$seconds" in
  -h | --help)
    usage
    exit 0
    ;;
  *[!0-9]* | "")
    usage >&2
    exit 2
    ;;
esac
shift || true
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(names); fi
command -v clang++ >/dev/null || {
  echo "fuzz: clang++ is missing; run scripts/setup.sh, or apt-get install clang" >&2
  exit 1
}

cmake --preset fuzz >/dev/null
cmake --build --preset fuzz --target "${targets[@]/%/_fuzz}"
failed=()
for target in "${targets[@]}"; do
  found=build/fuzz/found/$target
  mkdir -p "$found"
  echo "fuzz: $target for $seconds s"
  if ! "build/fuzz/tests/fuzz/${target}_fuzz" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 \
    -print_final_stats=1 -artifact_prefix="$found/FINDING-" "$found" "tests/fuzz/corpus/$target" \
    2>"build/fuzz/found/$target.log"; then
    failed+=("$target")
    tail -40 "build/fuzz/found/$target.log"
  else
    grep -E '^stat::(number_of_executed_units|peak_rss_mb)|DONE' "build/fuzz/found/$target.log" | sed 's/^/  /'
  fi
done
[ ${#failed[@]} = 0 ] || {
  echo "fuzz: findings in: ${failed[*]} (build/fuzz/found/TARGET/FINDING-…)" >&2
  exit 1
}
echo "fuzz: ${#targets[@]} targets, no finding"
