"""The audit log of a server: what it records, what it never does, and that changes show."""

import json
import pathlib
import shutil
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402


class AuditTest(serving.ServingTest):
    @classmethod
    def make_shards(cls, folder):
        return trireme.smollm2()

    @classmethod
    def serve(cls, folder, more_config=""):
        cls.log = folder / "audit.log"
        return super().serve(folder, f"audit: {{file: {cls.log}, fsync: always}}\n{more_config}")

    def verify(self, log):
        return trireme.run(trireme.program, "audit", "verify", log)

    def events(self):
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def test_records_who_did_what_and_never_what_was_written(self):
        request = self.messages.GenerateRequest(prompt_tokens=self.messages.TokenIds(ids=[271, 271, 271]), max_tokens=4,
                                                tenant="acme", request_id='of\nacme {"seq":1}')
        self.stub.GenerateUnary(request, timeout=30)
        trireme.wait_until(lambda: any(event["event"] == "request" for event in self.events()), "it is recorded", 10)
        event = next(event for event in self.events() if event["event"] == "request")
        self.assertEqual({name: event[name] for name in ("tenant", "request", "prompt_tokens", "completion_tokens", "outcome")},
                         {"tenant": "acme", "request": request.request_id, "prompt_tokens": 3, "completion_tokens": 4,
                          "outcome": "OK"})
        self.assertTrue(event["version"])
        said = [value for name, value in event.items() if name not in ("time", "prev", "hash")]
        self.assertNotIn("271", str(said))
        kinds = [event["event"] for event in self.events()]
        self.assertLessEqual({"admin", "group-attached", "request"}, set(kinds))
        self.assert_succeeds(self.verify(self.log))

    def test_a_change_shows(self):
        copy = self.folder / "audit.log"
        lines = self.log.read_text().splitlines(keepends=True)
        self.assertGreaterEqual(len(lines), 2)
        shutil.copy(f"{self.log}.head", f"{copy}.head")
        for changed in (lines[1:], lines[:-1], lines[::-1], [lines[0].replace("admin", "other")] + lines[1:]):
            copy.write_text("".join(changed))
            result = self.verify(copy)
            self.assertEqual(result.returncode, 1, result.stdout)
            self.assertIn(str(copy), result.stderr)


class FullAuditLogTest(serving.ServingTest):
    """The log's file may not grow any more: a disk that is full."""

    shares_processes = False

    @classmethod
    def make_shards(cls, folder):
        return trireme.smollm2()

    def setUp(self):
        super(serving.ServingTest, self).setUp()

    def test_serving_goes_on_and_what_operators_do_is_refused(self):
        import resource
        log = self.folder / "audit.log"
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.server = self.serve(self.folder, f"audit: {{file: {log}}}\n")
        coordinator = next(stat.pid for stat in trireme.descendants()
                           if "coordinator" in trireme.arguments_of(stat.pid)[:2])
        resource.prlimit(coordinator, resource.RLIMIT_FSIZE, (log.stat().st_size + 10, before[1]))
        request = self.messages.GenerateRequest(prompt_tokens=self.messages.TokenIds(ids=[5]), max_tokens=2)
        for _ in range(3):
            self.assertEqual(len(self.stub.GenerateUnary(request, timeout=30).tokens), 2)
        dump = trireme.run(trireme.program, "status", "--server", self.address, "--dump")
        self.assertEqual(dump.returncode, 1)
        self.assertIn("audit log", dump.stderr)
        resource.prlimit(coordinator, resource.RLIMIT_FSIZE, before)
        self.assert_succeeds(trireme.run(trireme.program, "status", "--server", self.address, "--dump"))
        self.assertIn("events before this one", log.read_text())
        self.assert_succeeds(trireme.run(trireme.program, "audit", "verify", log))


if __name__ == "__main__":
    trireme.main()
