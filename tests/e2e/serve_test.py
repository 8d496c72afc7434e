"""`trireme serve` with SmolLM2 over two ranks, asked by a gRPC client generated from proto/, as a user would."""

import json
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

    def test_a_request_does_not_wait_for_the_grammar_of_another(self):
        word = {"type": "string", "pattern": "^[a-z]{1,40}[A-Z]{1,40}$"}
        schema = {"type": "object", "properties": {f"property{i}": word for i in range(600)}, "additionalProperties": False}
        first = {}

        def ask(name, request):
            for _ in self.stub.Generate(request, timeout=60):
                first.setdefault(name, time.monotonic())

        constrained = self.generate_request("Answer in JSON: ", 4)
        constrained.constraint.json_schema = json.dumps(schema)
        plain = self.generate_request("The first", 4)
        asking = threading.Thread(target=ask, args=("constrained", constrained))
        asking.start()
        time.sleep(0.02)
        ask("plain", plain)
        asking.join()
        self.assertLess(first["plain"], first["constrained"])

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
                             ("top_p", 0.0), ("top_p", math.nan), ("min_p", 1.5), ("top_k", -1),
                             ("repetition_penalty", 0.0), ("frequency_penalty", math.nan),
                             ("presence_penalty", 101.0)):
            request = self.generate_request("Hello", 8)
            setattr(request.sampling, field, value)
            self.assert_invalid(request, field)

    def test_streams_each_of_three_completions_to_its_end(self):
        request = self.generate_request("The three primary colours are", 12)
        greedy = list(self.stub.GenerateUnary(request, timeout=60).tokens)
        request.n = 3
        request.sampling.temperature = 1
        request.sampling.seed = 7
        pieces = list(self.stub.Generate(request, timeout=60))
        tokens = {choice: [] for choice in range(3)}
        for piece in pieces:
            tokens[piece.choice] += piece.tokens
        self.assertEqual([len(tokens[choice]) for choice in range(3)], [12] * 3)
        self.assertEqual(len({tuple(made) for made in tokens.values()}), 3, "not drawn apart")
        self.assertEqual([piece.HasField("usage") for piece in pieces].count(True), 1)
        self.assertEqual(pieces[-1].usage.completion_tokens, 36)
        whole = self.stub.GenerateUnary(request, timeout=60)
        self.assertEqual([list(choice.tokens) for choice in whole.choices], [tokens[choice] for choice in range(3)])
        request.n = 1
        self.assertEqual(list(self.stub.GenerateUnary(request, timeout=60).tokens), tokens[0])
        request.sampling.temperature = 0
        request.n = 2
        for choice in self.stub.GenerateUnary(request, timeout=60).choices:
            self.assertEqual(list(choice.tokens), greedy)

    def test_ends_before_a_stop_string(self):
        request = self.generate_request("One, two, three, four,", 24)
        text = self.stub.GenerateUnary(request, timeout=60).text
        stop = text[len(text) // 2:len(text) // 2 + 5]
        request.stop.append(stop)
        whole = self.stub.GenerateUnary(request, timeout=60)
        self.assertEqual(whole.text, text[:text.index(stop)])
        self.assertEqual(whole.finish_reason, self.messages.FINISH_REASON_STOP)
        self.assertLess(len(whole.tokens), 24)
        self.assertEqual("".join(piece.text for piece in self.stub.Generate(request, timeout=60)), whole.text)

    def test_a_bias_decides_and_bans(self):
        request = self.generate_request("The sun is", 6)
        first = self.stub.GenerateUnary(request, timeout=60).tokens[0]
        request.logit_bias[first] = -math.inf
        self.assertNotIn(first, self.stub.GenerateUnary(request, timeout=60).tokens)
        del request.logit_bias[first]
        request.logit_bias[100] = 100
        self.assertEqual(list(self.stub.GenerateUnary(request, timeout=60).tokens), [100] * 6)

    def test_penalties_keep_a_completion_from_repeating_itself(self):
        request = self.generate_request("la la la la la la la la", 24)
        request.ignore_eos = True
        repeating = len(set(self.stub.GenerateUnary(request, timeout=60).tokens))
        request.sampling.frequency_penalty = 2
        request.sampling.presence_penalty = 2
        self.assertGreater(len(set(self.stub.GenerateUnary(request, timeout=60).tokens)), repeating)

    def test_scores_and_echoes_the_prompt(self):
        request = self.generate_request("The sun is", 4)
        plain = self.stub.GenerateUnary(request, timeout=60)
        request.echo = True
        request.prompt_logprobs = True
        request.logprobs = 2
        whole = self.stub.GenerateUnary(request, timeout=60)
        self.assertEqual(whole.text, "The sun is" + plain.text)
        ids = self.stub.Tokenize(self.messages.TokenizeRequest(text="The sun is"), timeout=30).ids
        self.assertEqual([score.chosen.token for score in whole.prompt_logprobs], list(ids)[1:])
        for score in whole.prompt_logprobs:
            self.assertLess(score.chosen.logprob, 0)
            self.assertEqual(len(score.top), 2)

    def test_a_constraint_rules_the_text(self):
        request = self.generate_request("Is the sky blue? Answer:", 8)
        request.constraint.choices.values.extend(["perhaps", "never"])
        whole = self.stub.GenerateUnary(request, timeout=60)
        self.assertIn(whole.text, ("perhaps", "never"))
        self.assertEqual(whole.finish_reason, self.messages.FINISH_REASON_STOP)
        request.constraint.regex = "[0-9]{4}"
        self.assertRegex(self.stub.GenerateUnary(request, timeout=60).text, "^[0-9]{4}$")

    def test_refuses_a_constraint_that_cannot_be_enforced(self):
        request = self.generate_request("Hello", 8)
        request.constraint.regex = "(a"
        self.assert_invalid(request, "")
        request.constraint.json_schema = "{\"type\": \"nonsense\"}"
        self.assert_invalid(request, "")
        request.constraint.regex = ""
        self.assert_invalid(request, "constraint.regex")

    def test_ends_at_the_calls_deadline(self):
        request = self.generate_request("Count: one, two, three,", 4000)
        request.ignore_eos = True
        self.assert_code("DEADLINE_EXCEEDED", lambda: self.stub.GenerateUnary(request, timeout=0.5))
        deadline = time.monotonic() + 10
        while self.running() != 0:
            self.assertLess(time.monotonic(), deadline, "a late request still runs")
            time.sleep(0.05)

    def test_refuses_fields_out_of_their_limits(self):
        for field, value in (("n", 0), ("n", 129), ("min_tokens", 9), ("priority", 1001), ("tenant", "t" * 65)):
            request = self.generate_request("Hello", 8)
            setattr(request, field, value)
            self.assert_invalid(request, field)
        request = self.generate_request("Hello", 8)
        request.stop.append("")
        self.assert_invalid(request, "stop[0]")

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
