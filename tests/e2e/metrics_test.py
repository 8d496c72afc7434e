"""A real Prometheus scrapes a coordinator, and the dashboard asks only for what is there."""

import http.server
import json
import pathlib
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402


def find_prometheus():
    unpacked = trireme.source / ".cache/prometheus/usr/bin/prometheus"
    return str(unpacked) if unpacked.exists() else shutil.which("prometheus")


class MetricsTest(serving.ServingTest):
    @classmethod
    def page(cls):
        return subprocess.run([trireme.program, "status", "--server", cls.address, "--metrics"], check=True,
                              capture_output=True, timeout=30, text=True).stdout

    def scrape_target(self):
        """Serves the page as the gateway's /metrics does; the port."""
        test = self

        class Relay(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = test.page().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        relay = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Relay)
        threading.Thread(target=relay.serve_forever, daemon=True).start()
        self.addCleanup(relay.shutdown)
        return relay.server_port

    def test_prometheus_scrapes_it(self):
        prometheus = find_prometheus()
        if prometheus is None:
            self.skipTest("no prometheus here; scripts/fetch_prometheus.sh unpacks the distribution's")
        self.stub.GenerateUnary(self.generate_request("The three primary colours are", 24), timeout=60)
        config = pathlib.Path(self.folder, "prometheus.yml")
        config.write_text("scrape_configs:\n  - job_name: trireme\n    scrape_interval: 500ms\n    static_configs:\n"
                          f"      - targets: ['127.0.0.1:{self.scrape_target()}']\n")
        address = f"127.0.0.1:{trireme.free_port()}"
        running = trireme.Running(self.folder, prometheus, f"--config.file={config}",
                                  f"--storage.tsdb.path={self.folder}/tsdb", f"--web.listen-address={address}")

        def ask(query):
            url = f"http://{address}/api/v1/query?" + urllib.parse.urlencode({"query": query})
            with urllib.request.urlopen(url, timeout=5) as answer:
                result = json.load(answer)["data"]["result"]
            return float(result[0]["value"][1]) if result else None

        def scraped():
            try:
                return (ask('up{job="trireme"}') == 1 and ask("trireme:generation_tokens_total") is not None)
            except OSError:
                return False

        running.wait_until(scraped, "Prometheus has scraped the page", 60)
        self.assertGreaterEqual(ask("trireme:generation_tokens_total"), 24)
        self.assertGreaterEqual(ask('trireme:request_success_total{finished_reason="length"}'), 1)
        self.assertEqual(ask("trireme:group_ready"), 1)
        self.assertEqual(ask("trireme:time_to_first_token_seconds_count"), ask("trireme:request_queue_time_seconds_count"))
        self.assertGreater(ask("trireme:steps_total"), 0)
        self.assertGreater(ask("trireme:step_seconds_total"), 0)

    def test_the_dashboard_asks_for_what_there_is(self):
        text = (trireme.source / "configs/grafana/trireme.json").read_text()
        board = json.loads(text)
        shown = set(re.findall(r"^# TYPE (\S+) ", self.page(), re.MULTILINE))
        for panel in board["panels"]:
            for target in panel["targets"]:
                for name in re.findall(r"trireme:\w+", target["expr"]):
                    name = re.sub(r"_bucket$", "", name)
                    self.assertIn(name, shown, panel["title"])


if __name__ == "__main__":
    trireme.main()
