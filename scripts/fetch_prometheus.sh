#!/usr/bin/env bash
# Unpacks the distribution's Prometheus into .cache/prometheus for tests/e2e/metrics_test.py, without installing it:
# the package would start a server.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[ ! -x .cache/prometheus/usr/bin/prometheus ] || exit 0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
(cd "$folder" && apt-get -q download prometheus >/dev/null)
mkdir -p .cache/prometheus
dpkg -x "$folder"/prometheus_*.deb .cache/prometheus
echo "prometheus: unpacked in .cache/prometheus"
