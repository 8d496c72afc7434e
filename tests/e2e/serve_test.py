"""`trireme serve` with SmolLM2 over two ranks, asked by a gRPC client generated from proto/, as a user would."""

import math
import pathlib
import signal
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402

QUESTION = "Which city is the capital of France? Answer in one sentence."


class ServeTest(serving.ServingTest):
    """One server for all cases: each case also shows that the ones before it disturbed nothing."""

    def test_answers_the_question_of_the_demo(self):
        pieces = list(self.stub.Chat(self.chat(QUESTION), timeout=60))
        self.assertIn("Paris", "".join(piece.text for piece in pieces))
        self.assertGreater(len(pieces), 3, "not streamed")
        self.assertEqual(pieces[-1].finish_reason, self.messages.FINISH_REASON_STOP)
        tokens = sum(len(piece.tokens) for piece in pieces)
        self.assertEqual(pieces[-1].usage.completion_tokens, tokens)

    def test_unary_and_streamed_answers_are_equal(self):
        request = self.generate_request("The three primary colours are", 24)
        whole = self.stub.GenerateUnary(request, timeout=60)
        pieces = list(self.stub.Generate(request, timeout=60))
        self.assertEqual("".join(piece.text for piece in pieces), whole.text)
        self.assertEqual([token for piece in pieces for token in piece.tokens], list(whole.tokens))
        self.assertEqual(whole.usage.completion_tokens, 24)
        self.assertEqual(whole.finish_reason, self.messages.FINISH_REASON_LENGTH)

    def test_tokenize_gives_back_the_text(self):
        text = "Hello, world! Ærøskøbing 🚀 12345"
        ids = self.stub.Tokenize(self.messages.TokenizeRequest(text=text), timeout=30).ids
        self.assertEqual(self.stub.Detokenize(self.messages.DetokenizeRequest(ids=ids), timeout=30).text, text)

    def test_models_says_what_is_served(self):
        models = self.stub.Models(self.messages.ModelsRequest(), timeout=30).models
        self.assertEqual(len(models), 1)
        self.assertEqual(models[0].vocabulary, 49152)
        self.assertEqual([(group.ready, group.ranks) for group in models[0].groups], [(True, 2)])

    def test_refuses_an_empty_prompt(self):
        self.assert_invalid(self.generate_request("", 8), "prompt")

    def test_refuses_a_prompt_longer_than_the_context(self):
        tokens = self.messages.TokenIds(ids=[100] * 20000)
        self.assert_invalid(self.messages.GenerateRequest(prompt_tokens=tokens, max_tokens=8), "prompt")

    def test_refuses_tokens_outside_the_vocabulary(self):
        for bad in (-1, 49152, 2**31 - 1):
            tokens = self.messages.TokenIds(ids=[100, bad])
            self.assert_invalid(self.messages.GenerateRequest(prompt_tokens=tokens, max_tokens=8), "prompt_tokens")

    def test_refuses_sampling_that_means_nothing(self):
        for field, value in (("temperature", math.nan), ("temperature", math.inf), ("temperature", -1.0),
                             ("top_p", 0.0), ("top_p", math.nan), ("min_p", 1.5), ("top_k", -1)):
            request = self.generate_request("Hello", 8)
            setattr(request.sampling, field, value)
            self.assert_invalid(request, field)

    def test_refuses_an_unknown_model(self):
        request = self.generate_request("Hello", 8)
        request.model = "another"
        self.assert_code("NOT_FOUND", lambda: self.stub.GenerateUnary(request, timeout=30))

    def test_health_is_serving(self):
        self.assertEqual(trireme.health(self.channel), "SERVING")
        self.assertEqual(trireme.health(self.channel, "trireme.v1.Inference"), "SERVING")
        self.assertEqual(trireme.health(self.channel, "no.such.Service"), "NOT_FOUND")

    def test_reflection_lists_the_services(self):
        from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
        stub = reflection_pb2_grpc.ServerReflectionStub(self.channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        reply = next(iter(stub.ServerReflectionInfo(iter([request]), timeout=30)))
        names = {service.name for service in reply.list_services_response.service}
        self.assertLessEqual({"trireme.v1.Inference", "grpc.health.v1.Health"}, names)

    def test_cancelling_frees_the_engine(self):
        request = self.generate_request("Count: one, two, three,", 4000)
        request.ignore_eos = True
        call = self.stub.Generate(request, timeout=60)
        next(iter(call))
        self.assertEqual(self.running(), 1)
        call.cancel()
        deadline = time.monotonic() + 10
        while self.running() != 0:
            self.assertLess(time.monotonic(), deadline, "a cancelled request still runs")
            time.sleep(0.05)

    def test_requests_are_served_together_and_do_not_change_each_other(self):
        prompts = ["The sun is", "In the year 1969", "Water boils at", "A good friend"]
        alone = [list(self.stub.GenerateUnary(self.generate_request(prompt, 20), timeout=60).tokens) for prompt in prompts]
        together = [None] * len(prompts)

        def ask(index):
            together[index] = list(self.stub.GenerateUnary(self.generate_request(prompts[index], 20), timeout=60).tokens)

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        self.assertEqual(together, alone)

    def test_chat_prints_the_answer_alone(self):
        result = trireme.run(trireme.program, "chat", "--server", self.address, "--prompt", QUESTION,
                             "--temperature", "0", "--stats")
        self.assert_succeeds(result)
        self.assertIn("Paris", result.stdout)
        self.assertIn("tokens/s", result.stderr)


class StartAndStopTest(serving.ServingTest):
    """A server for each case."""

    shares_processes = False

    def test_sigterm_stops_everything_cleanly(self):
        self.server.process.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(20), 0, self.server.err()[-3000:])
        self.assertEqual([stat.name for stat in trireme.descendants()], [])

    def test_ctrl_c_stops_everything_while_it_generates(self):
        request = self.generate_request("Count: one, two, three,", 4000)
        request.ignore_eos = True
        call = self.stub.Generate(request, timeout=60)
        next(iter(call))
        self.server.process.send_signal(signal.SIGINT)
        self.assertEqual(self.server.wait(20), 0, self.server.err()[-3000:])
        self.assertEqual([stat.name for stat in trireme.descendants()], [])


if __name__ == "__main__":
    trireme.main()
