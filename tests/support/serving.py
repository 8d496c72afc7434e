"""Test cases around a running `trireme serve`, of SmolLM2 over two ranks where a class says nothing else."""

import pathlib
import shutil
import tempfile

import trireme_process as trireme

class ServingTest(trireme.TriremeTest):
    """self.stub and self.messages speak to a server that is ready; one for all cases, or one for each."""

    shares_processes = True

    @classmethod
    def setUpClass(cls):
        cls.messages, cls.services = trireme.protocol()
        cls.shared = pathlib.Path(tempfile.mkdtemp(prefix="trireme-serve-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.shards = cls.make_shards(cls.shared)
        if cls.shares_processes:
            cls.addClassCleanup(trireme.kill_descendants)
            cls.server = cls.serve(cls.shared)

    @classmethod
    def make_shards(cls, folder):
        """Shards of what is served, below `folder`."""
        return trireme.shard(trireme.smollm2(), folder / "shards", tp=2)

    @classmethod
    def serve(cls, folder, more_config=""):
        cls.address = f"127.0.0.1:{trireme.free_port()}"
        config = pathlib.Path(folder, "serve.yaml")
        config.write_text(f"model: {cls.shards}\nlisten: {cls.address}\n{more_config}")
        server = trireme.Running(folder, trireme.program, "serve", config)
        cls.channel = cls.make_channel()
        cls.stub = cls.services.InferenceStub(cls.channel)
        server.wait_until(lambda: trireme.health(cls.channel) == "SERVING", "the server is ready", 60)
        return server

    @classmethod
    def make_channel(cls):
        import grpc
        return grpc.insecure_channel(cls.address, trireme.CHANNEL_OPTIONS)

    def setUp(self):
        super().setUp()
        if not self.shares_processes:
            self.server = self.serve(self.folder)

    def tearDown(self):
        if not self.shares_processes:
            self.channel.close()
        elif self.server.process.poll() is not None:
            self.fail(f"the server ended with {self.server.process.returncode}:\n{self.server.err()[-4000:]}")

    def generate_request(self, prompt, max_tokens):
        return self.messages.GenerateRequest(prompt=prompt, max_tokens=max_tokens,
                                             sampling=self.messages.SamplingParams(temperature=0))

    def chat(self, question, max_tokens=64):
        return self.messages.ChatRequest(messages=[self.messages.ChatMessage(role="user", content=question)],
                                         max_tokens=max_tokens, sampling=self.messages.SamplingParams(temperature=0))

    def running(self):
        """Sequences in the engine's steps, over all groups."""
        models = self.stub.Models(self.messages.ModelsRequest(), timeout=10).models
        return sum(group.running for model in models for group in model.groups)

    def assert_code(self, code, call):
        import grpc
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        self.assertEqual(caught.exception.code().name, code, caught.exception.details())
        return caught.exception.details()

    def assert_invalid(self, request, field):
        details = self.assert_code("INVALID_ARGUMENT", lambda: self.stub.GenerateUnary(request, timeout=30))
        self.assertIn(field, details)
        details = self.assert_code("INVALID_ARGUMENT", lambda: list(self.stub.Generate(request, timeout=30)))
        self.assertIn(field, details)


class HttpServingTest(ServingTest):
    """The same with HTTP at self.http (host:port), and batches."""

    @classmethod
    def serve(cls, folder, more_config=""):
        cls.http = f"127.0.0.1:{trireme.free_port()}"
        return super().serve(folder, f"http:\n  listen: {cls.http}\n  batch_directory: {folder}/batches\n{more_config}")
