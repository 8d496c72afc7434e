#!/usr/bin/env bash
# The whole ship, once: sets up, builds, fetches a real model, cuts it into shards for two ranks, serves it, asks a
# question over gRPC, prints the streamed answer with tokens/s, and stops. The second run takes seconds.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'U'
usage: scripts/demo.sh [--keep]
  --keep   leave the server running afterwards, and print how to talk to it
U
}

keep=no
case "${1:-}" in
  "") ;;
  --keep) keep=yes ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

question="Which city is the capital of France? Answer in one sentence."
trireme=build/release/trireme
config=configs/local.yaml
server=127.0.0.1:50051
http=127.0.0.1:8000
model=.cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
shards=.cache/shards/smollm2-tp2
log=.cache/demo/serve.log

say() { printf 'demo: %s\n' "$*"; }
fail() {
  printf 'demo: error: %s\n' "$*" >&2
  exit 1
}

# Root may not start MPI ranks unless it says so.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

scripts/setup.sh
scripts/fetch_models.sh

mkdir -p .cache/demo
[ -x "$trireme" ] || say "building $trireme with $(nproc) jobs; the first time takes minutes"
{
  [ -f build/release/build.ninja ] || cmake --preset release
  cmake --build --preset release --target trireme --parallel "$(nproc)"
} >.cache/demo/build.log 2>&1 || {
  tail -n 40 .cache/demo/build.log >&2
  fail "the build failed; all of its output is in .cache/demo/build.log"
}

if [ -f "$shards/manifest.json" ] && "$trireme" verify --model "$shards" >/dev/null 2>&1; then
  say "$shards: already there, every slice's checksum is right"
else
  say "cutting $model into shards for two ranks: $shards"
  rm -rf "$shards"
  "$trireme" shard --model "$model" --tp 2 --out "$shards"
fi

for address in "$server" "$http"; do
  if (exec 3<>"/dev/tcp/${address%:*}/${address#*:}") 2>/dev/null; then
    fail "something already listens on $address (a server left by --keep?); stop it first"
  fi
done

say "starting: $trireme serve $config (log: $log)"
setsid nohup "$trireme" serve "$config" >"$log" 2>&1 </dev/null &
pid=$!
stop() {
  kill -TERM "$pid" 2>/dev/null || return 0
  wait "$pid" || say "the server ended with code $?; see $log"
}
trap stop EXIT

for _ in $(seq 600); do
  "$trireme" status --server "$server" >/dev/null 2>&1 && break
  kill -0 "$pid" 2>/dev/null || {
    tail -n 20 "$log" >&2
    fail "the server ended before it was ready"
  }
  sleep 0.1
done
"$trireme" status --server "$server" >/dev/null 2>&1 || fail "the server is not ready after 60 s; see $log"

say "asking over gRPC: $question"
"$trireme" chat --server "$server" --prompt "$question" --temperature 0 --stats

if [ "$keep" = yes ]; then
  trap - EXIT
  say "the server stays up, gRPC on $server and HTTP on $http, process $pid. Talk to it, or stop it:"
  echo "  $trireme chat --server $server"
  echo "  curl http://$http/v1/chat/completions -H 'Content-Type: application/json' -d '{\"messages\": [{\"role\": \"user\", \"content\": \"Tell me about triremes.\"}], \"max_tokens\": 64}'"
  echo "  $trireme chat --server $server --prompt \"Tell me about triremes.\" --stats"
  echo "  kill $pid"
else
  stop
  trap - EXIT
  say "stopped"
fi
