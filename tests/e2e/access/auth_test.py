"""A coordinator that asks for API keys: what is behind the door, who gets in, and that no secret is to be seen."""

import http.client
import os
import pathlib
import shutil
import signal
import stat
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import trireme_process as trireme  # noqa: E402


def methods_of(channel, metadata):
    """"/service/method" of everything that the server says it has, by reflection."""
    from google.protobuf import descriptor_pb2
    from grpc_reflection.v1alpha import reflection_pb2 as messages
    from grpc_reflection.v1alpha import reflection_pb2_grpc
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)

    def ask(**question):
        request = messages.ServerReflectionRequest(**question)
        return next(iter(stub.ServerReflectionInfo(iter([request]), metadata=metadata, timeout=10)))

    found = []
    for service in ask(list_services="").list_services_response.service:
        files = ask(file_containing_symbol=service.name).file_descriptor_response.file_descriptor_proto
        for text in files:
            file = descriptor_pb2.FileDescriptorProto.FromString(text)
            for declared in file.service:
                if f"{file.package}.{declared.name}" == service.name:
                    found += [f"/{service.name}/{method.name}" for method in declared.method]
    return found


class AuthTest(trireme.TriremeTest):
    """One coordinator without groups for all cases; keys come and go."""

    shares_processes = True

    @classmethod
    def setUpClass(cls):
        import grpc
        cls.grpc = grpc
        cls.messages, cls.services = trireme.protocol()
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="trireme-auth-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.addClassCleanup(trireme.kill_descendants)
        cls.file = cls.shared / "keys.json"
        cls.key = cls.create("acme")
        cls.admin = cls.create("ops", "--scope", "admin")
        cls.join_token = "j" * 64
        token_file = cls.shared / "join-token"
        token_file.write_text(cls.join_token + "\n")
        token_file.chmod(0o600)
        cls.address = f"127.0.0.1:{trireme.free_port()}"
        cls.http = f"127.0.0.1:{trireme.free_port()}"
        cls.server = trireme.Running(
            cls.shared, trireme.program, "coordinator", "--listen", cls.address,
            "--model", trireme.source / "tests/data/tokenizers/smollm2", "--keys-file", cls.file,
            "--join-token-file", token_file, "--http-listen", cls.http)
        cls.channel = grpc.insecure_channel(cls.address, trireme.CHANNEL_OPTIONS)
        cls.server.wait_until(lambda: cls.models(cls.key) == "OK", "the coordinator listens", 20)

    @classmethod
    def create(cls, tenant, *more):
        made = trireme.run(trireme.program, "keys", "create", "--file", cls.file, "--tenant", tenant, *more)
        if made.returncode != 0:
            raise AssertionError(made.stderr)
        return made.stdout.strip()

    @classmethod
    def models(cls, key):
        """The code that a call with this key ends with."""
        stub = cls.services.InferenceStub(cls.channel)
        try:
            stub.Models(cls.messages.ModelsRequest(), timeout=10, metadata=[("x-api-key", key)] if key else [])
        except cls.grpc.RpcError as error:
            return error.code().name
        return "OK"

    def call(self, method, metadata=()):
        """The code of any method, called with an empty message."""
        call = self.channel.stream_stream(method)(iter([b""]), timeout=10, metadata=metadata)
        try:
            list(call)
        except self.grpc.RpcError as error:
            return error.code().name
        return "OK"

    def wait_for(self, code, key):
        deadline = time.monotonic() + 10
        while self.models(key) != code:
            self.assertLess(time.monotonic(), deadline, f"not {code}: {self.models(key)}")
            time.sleep(0.05)

    def test_every_method_is_refused_without_a_key(self):
        methods = methods_of(self.channel, [("x-api-key", self.key)])
        for service in ("trireme.v1.Inference", "trireme.v1.Admin", "trireme.v1.GroupLink", "inference.GRPCInferenceService"):
            self.assertTrue(any(method.startswith(f"/{service}/") for method in methods), (service, methods))
        # gRPC's own services have no descriptors in the server.
        methods += ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch",
                    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"]
        self.assertIn("/trireme.v1.Inference/Chat", methods)
        for method in methods + ["/trireme.v1.Inference/NoSuch", "/no.such.Service/Method"]:
            self.assertEqual(self.call(method), "UNAUTHENTICATED", method)
            self.assertEqual(self.call(method, [("authorization", "Bearer trk_a_00")]), "UNAUTHENTICATED", method)

    def test_a_key_opens_what_its_scopes_say(self):
        bearer = [("authorization", f"Bearer {self.key}")]
        self.assertEqual(self.call("/trireme.v1.Admin/Trace", bearer), "PERMISSION_DENIED")
        self.assertEqual(self.call("/no.such.Service/Method", bearer), "PERMISSION_DENIED")
        self.assertEqual(self.call("/trireme.v1.Admin/Trace", [("x-api-key", self.admin)]), "NOT_FOUND")
        self.assertEqual(self.call("/trireme.v1.Inference/Models", [("x-api-key", self.admin)]), "PERMISSION_DENIED")
        self.assertEqual(self.models(self.key), "OK")

    def ask(self, method, path, headers):
        connection = http.client.HTTPConnection(self.http, timeout=10)
        self.addCleanup(connection.close)
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        response.read()
        return response

    def test_every_route_but_probes_is_refused_without_a_key(self):
        routes = trireme.run(trireme.program, "coordinator", "--list-routes").stdout.splitlines()
        self.assertIn("POST /v1/chat/completions infer", routes)
        for method, path, scope in (route.split(" ") for route in routes):
            path = path.replace("{id}", "x")
            if scope == "open":
                self.assertIn(path, ("/healthz", "/readyz"))
                continue
            for headers in ({}, {"Authorization": "Bearer trk_a_00"}, {"x-api-key": self.join_token}):
                refused = self.ask(method, path, headers)
                self.assertEqual(refused.status, 401, path)
                self.assertEqual(refused.getheader("WWW-Authenticate"), "Bearer")
            status = self.ask(method, path, {"Authorization": f"Bearer {self.key}"}).status
            self.assertEqual(status == 403, scope != "infer", (path, status))
            self.assertNotEqual(status, 401, path)

    def test_only_the_join_token_opens_the_link_of_groups(self):
        attach = "/trireme.v1.GroupLink/Attach"
        for secret in (self.key, self.admin, self.join_token[1:], self.join_token + "j"):
            self.assertEqual(self.call(attach, [("authorization", f"Bearer {secret}")]), "UNAUTHENTICATED")
        self.assertEqual(self.call(attach, [("authorization", f"Bearer {self.join_token}")]), "INVALID_ARGUMENT")
        self.assertEqual(self.models(self.join_token), "UNAUTHENTICATED")

    def test_wrong_revoked_and_expired_keys(self):
        self.assertEqual(self.models(self.key[:-1] + ("0" if self.key[-1] != "0" else "1")), "UNAUTHENTICATED")
        gone = self.create("acme", "--id", "gone")
        short = self.create("acme", "--expires-days", str(2 / 86400))
        self.wait_for("OK", gone)
        self.wait_for("UNAUTHENTICATED", short)
        self.assert_succeeds(trireme.run(trireme.program, "keys", "revoke", "--file", self.file, "gone"))
        self.wait_for("UNAUTHENTICATED", gone)
        self.assertEqual(self.models(self.key), "OK")

    def test_the_file_is_its_owners_and_holds_no_key(self):
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode), 0o600)
        listed = trireme.run(trireme.program, "keys", "list", "--file", self.file)
        self.assert_succeeds(listed)
        for key in (self.key, self.admin):
            secret = key.split("_")[2]
            self.assertEqual(len(secret), 64)
            self.assertNotIn(secret, self.file.read_text())
            self.assertNotIn(secret, listed.stdout)
        self.assertIn("acme", listed.stdout)

    def test_our_clients_take_the_key_from_a_file_or_the_environment(self):
        key_file = self.folder / "key"
        key_file.write_text(self.key + "\n")
        key_file.chmod(0o600)
        status = [trireme.program, "status", "--server", self.address]
        self.assertIn("not ready", trireme.run(*status, "--api-key-file", key_file).stdout)
        self.assertIn("UNAUTHENTICATED", trireme.run(*status).stderr)
        with_key = trireme.run(*status, env=dict(os.environ, TRIREME_API_KEY=self.key))
        self.assertIn("not ready", with_key.stdout)
        key_file.chmod(0o644)
        self.assertIn("0600", trireme.run(*status, "--api-key-file", key_file).stderr)

    def test_no_secret_is_in_command_lines_or_logs(self):
        self.models(self.key)
        self.models(self.key + "0")
        texts = [self.server.out(), self.server.err()]
        texts += [" ".join(trireme.arguments_of(process.pid)) for process in trireme.descendants()]
        for text in texts:
            for secret in (self.key.split("_")[2], self.admin.split("_")[2], self.join_token):
                self.assertNotIn(secret, text)

    def test_groups_of_serve_join_by_a_token_that_nobody_sees(self):
        """Also: clients of a served model need keys, and the token is gone with the server."""
        address = f"127.0.0.1:{trireme.free_port()}"
        config = self.folder / "serve.yaml"
        config.write_text(f"model: {trireme.smollm2()}\nlisten: {address}\nauth:\n  keys_file: {self.file}\n"
                          "groups:\n- {name: local, threads: 1}\n")
        environment = dict(os.environ, TMPDIR=str(self.folder))
        server = self.start(trireme.program, "serve", config, name="serve", env=environment)
        with self.grpc.insecure_channel(address, trireme.CHANNEL_OPTIONS) as channel:
            stub = self.services.InferenceStub(channel)
            request = self.messages.GenerateRequest(prompt_tokens=self.messages.TokenIds(ids=[5, 6]), max_tokens=2)

            def answered(key):
                try:
                    return len(stub.GenerateUnary(request, timeout=20, metadata=[("x-api-key", key)]).tokens)
                except self.grpc.RpcError as error:
                    return error.code().name

            server.wait_until(lambda: answered(self.key) == 2, "an answer", 60)
            self.assertEqual(answered("trk_a_00"), "UNAUTHENTICATED")
            token_file = next(self.folder.glob("trireme-*/join-token"))
            self.assertEqual(stat.S_IMODE(token_file.stat().st_mode), 0o600)
            self.assertEqual(stat.S_IMODE(token_file.parent.stat().st_mode), 0o700)
            token = token_file.read_text().strip()
            texts = [" ".join(trireme.arguments_of(process.pid)) for process in trireme.descendants()]
            self.assertTrue(any(str(token_file) in text for text in texts), texts)
            for text in texts + [server.err(), server.out()]:
                self.assertNotIn(token, text)
                self.assertNotIn(self.key.split("_")[2], text)
        server.process.send_signal(signal.SIGTERM)
        self.assertEqual(server.wait(30), 0, server.err()[-3000:])
        self.assertEqual(list(self.folder.glob("trireme-*")), [])


if __name__ == "__main__":
    trireme.main()
