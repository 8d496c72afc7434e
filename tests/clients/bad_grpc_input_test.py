"""Bad input over gRPC: each row of the tables gets its typed error, and a request beside them is undisturbed."""

import json
import math
import pathlib
import struct
import sys
import threading

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402

MOST = 2**31 - 1
LARGE = "x" * (5 << 20)
DEEP = b"\xa3\x06" * 100_000  # groups of an unknown field, each in the last
PATIENCE = 30
INVALID = "INVALID_ARGUMENT"

# (what, the request's fields, its code, what the message names). A name with a dot is one of the sampling parameters.
GENERATE = [
    ("nothing at all", {}, INVALID, "input"),
    ("no room for a token", {"prompt": "Hi", "max_tokens": 0}, INVALID, "max_tokens"),
    ("a negative length", {"prompt": "Hi", "max_tokens": -1}, INVALID, "max_tokens"),
    ("the longest length", {"prompt": "Hi", "max_tokens": MOST}, INVALID, "max_tokens"),
    ("more at least than at most", {"prompt": "Hi", "min_tokens": 9}, INVALID, "min_tokens"),
    ("a prompt beyond the context", {"prompt": "word " * 100_000}, INVALID, "context"),
    ("4 MiB and more", {"prompt": LARGE}, "RESOURCE_EXHAUSTED", "larger than max"),
    ("an unknown model", {"prompt": "Hi", "model": "another"}, "NOT_FOUND", "model"),
    ("a temperature that is no number", {"prompt": "Hi", "sampling.temperature": math.nan}, INVALID, "temperature"),
    ("an endless temperature", {"prompt": "Hi", "sampling.temperature": math.inf}, INVALID, "temperature"),
    ("a negative temperature", {"prompt": "Hi", "sampling.temperature": -1}, INVALID, "temperature"),
    ("top_p of nothing", {"prompt": "Hi", "sampling.top_p": 0}, INVALID, "top_p"),
    ("top_p of more than all", {"prompt": "Hi", "sampling.top_p": 1.5}, INVALID, "top_p"),
    ("min_p that is no number", {"prompt": "Hi", "sampling.min_p": math.nan}, INVALID, "min_p"),
    ("a negative top_k", {"prompt": "Hi", "sampling.top_k": -5}, INVALID, "top_k"),
    ("a penalty of zero", {"prompt": "Hi", "sampling.repetition_penalty": 0}, INVALID, "repetition_penalty"),
    ("an endless penalty", {"prompt": "Hi", "sampling.presence_penalty": -math.inf}, INVALID, "presence_penalty"),
    ("no completion", {"prompt": "Hi", "n": 0}, INVALID, "n: "),
    ("a huge n", {"prompt": "Hi", "n": MOST}, INVALID, "n: "),
    ("many alternatives", {"prompt": "Hi", "logprobs": 21}, INVALID, "logprobs"),
    ("negative alternatives", {"prompt": "Hi", "logprobs": -1}, INVALID, "logprobs"),
    ("many stop strings", {"prompt": "Hi", "stop": ["x"] * 17}, INVALID, "stop"),
    ("a long stop string", {"prompt": "Hi", "stop": ["x" * 257]}, INVALID, "stop[0]"),
    ("an empty stop string", {"prompt": "Hi", "stop": [""]}, INVALID, "stop[0]"),
    ("a stop token that does not exist", {"prompt": "Hi", "stop_tokens": [MOST]}, INVALID, "stop_tokens"),
    ("many stop tokens", {"prompt": "Hi", "stop_tokens": range(10_000)}, INVALID, "stop_tokens"),
    ("a bias of no token", {"prompt": "Hi", "logit_bias": {-1: 1.0}}, INVALID, "logit_bias"),
    ("a bias that is no number", {"prompt": "Hi", "logit_bias": {5: math.nan}}, INVALID, "logit_bias"),
    ("an endless bias", {"prompt": "Hi", "logit_bias": {5: math.inf}}, INVALID, "logit_bias"),
    ("many biases", {"prompt": "Hi", "logit_bias": {token: 1.0 for token in range(5_000)}}, INVALID, "logit_bias"),
    ("a long id", {"prompt": "Hi", "request_id": "x" * 129}, INVALID, "request_id"),
    ("a long tenant", {"prompt": "Hi", "tenant": "x" * 65}, INVALID, "tenant"),
    ("a priority out of range", {"prompt": "Hi", "priority": -MOST}, INVALID, "priority"),
]

# (what, the constraint's fields, what the message names).
CONSTRAINTS = [
    ("an expression that does not close", {"regex": "(a"}, ""),
    ("a long expression", {"regex": "a" * 5_000}, "constraint.regex"),
    ("a schema that is no JSON", {"json_schema": "{"}, ""),
    ("a deep schema", {"json_schema": '{"items":' * 5_000 + "{}" + "}" * 5_000}, ""),
    ("a large schema", {"json_schema": "{" + " " * 70_000 + "}"}, "constraint.json_schema"),
    ("a schema of nothing known", {"json_schema": '{"type": "nonsense"}'}, ""),
]

# (what, inputs as (name, datatype, shape, raw bytes), the code, what the message names).
TEXT = ("text_input", "BYTES", [1], b"\x02\0\0\0Hi")
KSERVE = [
    ("no input", [], INVALID, "text_input"),
    ("text that is no UTF-8", [("text_input", "BYTES", [1], b"\x02\0\0\0\xff\xfe")], INVALID, "UTF-8"),
    ("a length that lies", [("text_input", "BYTES", [1], b"\xff\xff\xff\xffHi")], INVALID, "text_input"),
    ("bytes after the end", [("text_input", "BYTES", [1], b"\x01\0\0\0Hi")], INVALID, "text_input"),
    ("a shape that lies", [("text_input", "BYTES", [2], b"\x02\0\0\0Hi")], INVALID, "text_input"),
    ("a shape that wraps", [("text_input", "BYTES", [2**62, 4, 2**62], b"\x02\0\0\0Hi")], INVALID, "text_input"),
    ("a negative shape", [("text_input", "BYTES", [-1], b"\x02\0\0\0Hi")], INVALID, "text_input"),
    ("a datatype that lies", [TEXT, ("max_tokens", "INT64", [1], struct.pack("<i", 4))], INVALID, "max_tokens"),
    ("a datatype of nothing", [TEXT, ("max_tokens", "COMPLEX", [1], b"\0")], INVALID, "max_tokens"),
    ("a tensor twice", [TEXT, TEXT], INVALID, "text_input"),
    ("an unknown tensor", [TEXT, ("image", "BYTES", [1], b"\0\0\0\0")], INVALID, "inputs[1]"),
    ("a negative length", [TEXT, ("max_tokens", "INT32", [1], struct.pack("<i", -1))], INVALID, "max_tokens"),
    ("no number", [TEXT, ("temperature", "FP32", [1], struct.pack("<f", math.nan))], INVALID, "temperature"),
    ("beams", [TEXT, ("beam_width", "INT32", [1], struct.pack("<i", 4))], INVALID, "beam_width"),
    ("a stream over a unary call", [TEXT, ("stream", "BOOL", [1], b"\1")], "UNIMPLEMENTED", "stream"),
]


class BadGrpcInputTest(serving.ServingTest):
    """One server, and one request that runs through all cases."""

    beside_error = None

    @classmethod
    def setUpClass(cls):
        import grpc
        super().setUpClass()
        cls.kserve, kserve_services = trireme.protocol("kserve/inference")
        cls.kserve_stub = kserve_services.GRPCInferenceServiceStub(cls.channel)
        cls.model = cls.stub.Models(cls.messages.ModelsRequest(), timeout=PATIENCE).models[0].name
        request = cls.messages.GenerateRequest(prompt="Count: one, two, three,", max_tokens=4000, ignore_eos=True)
        request.request_id = "beside"
        cls.alone = cls.first_tokens(request)
        # Over a connection of its own: a client that floods one loses what else it has there.
        cls.other = grpc.insecure_channel(cls.address, (("grpc.use_local_subchannel_pool", 1),))
        cls.addClassCleanup(cls.other.close)
        cls.beside = cls.services.InferenceStub(cls.other).Generate(request, timeout=300)
        cls.beside_tokens = list(next(cls.beside).tokens)
        cls.reader = threading.Thread(target=cls.read_beside)
        cls.reader.start()

    @classmethod
    def tearDownClass(cls):
        cls.beside.cancel()
        cls.reader.join()
        super().tearDownClass()

    @classmethod
    def read_beside(cls):
        import grpc
        try:
            for piece in cls.beside:
                cls.beside_tokens += piece.tokens
        except grpc.RpcError as error:
            cls.beside_error = f"{error.code().name}: {error.details()}"

    @classmethod
    def first_tokens(cls, request, count=24):
        call, tokens = cls.stub.Generate(request, timeout=PATIENCE), []
        while len(tokens) < count:
            tokens += next(call).tokens
        call.cancel()
        trireme.wait_until(lambda: cls.count_running() == 0, "the engine is free", 10)
        return tokens[:count]

    @classmethod
    def count_running(cls):
        models = cls.stub.Models(cls.messages.ModelsRequest(), timeout=PATIENCE).models
        return sum(group.running for model in models for group in model.groups)

    def refused(self, code, text, call, what):
        """The error's trailing metadata."""
        import grpc
        with self.subTest(what):
            with self.assertRaises(grpc.RpcError) as caught:
                call()
            self.assertIn(caught.exception.code().name, code.split(" or "), caught.exception.details())
            self.assertIn(text, caught.exception.details())
            trailing = dict(caught.exception.trailing_metadata())
            if code == INVALID:
                self.assertIn(b"google.rpc.ErrorInfo", trailing["grpc-status-details-bin"])
            return trailing
        return {}

    def generate(self, fields):
        request = self.messages.GenerateRequest(max_tokens=4)
        for name, value in fields.items():
            if name.startswith("sampling."):
                setattr(request.sampling, name.split(".")[1], value)
            elif isinstance(value, dict):
                getattr(request, name).update(value)
            elif isinstance(value, (list, range)):
                getattr(request, name).extend(value)
            else:
                setattr(request, name, value)
        return request

    def raw(self, method, payload):
        return self.channel.unary_unary(method, lambda request: request, lambda reply: reply)(payload, timeout=PATIENCE)

    def test_generate_refuses_each_row(self):
        for what, fields, code, text in GENERATE:
            request = self.generate(fields)
            self.refused(code, text, lambda: self.stub.GenerateUnary(request, timeout=PATIENCE), what)
            self.refused(code, text, lambda: list(self.stub.Generate(request, timeout=PATIENCE)), what + ", streamed")

    def test_generate_refuses_constraints_that_cannot_be_kept(self):
        for what, fields, text in CONSTRAINTS:
            request = self.generate({"prompt": "Hi"})
            for name, value in fields.items():
                setattr(request.constraint, name, value)
            self.refused(INVALID, text, lambda: self.stub.GenerateUnary(request, timeout=PATIENCE), what)

    def test_an_error_names_its_field_for_programs(self):
        request = self.generate({"prompt": "Hi", "sampling.top_k": -5})
        trailing = self.refused(INVALID, "", lambda: self.stub.GenerateUnary(request, timeout=PATIENCE), "top_k")
        self.assertIn(b"google.rpc.BadRequest", trailing["grpc-status-details-bin"])
        self.assertIn(b"sampling.top_k", trailing["grpc-status-details-bin"])

    def test_chat_refuses_what_is_no_conversation(self):
        message = self.messages.ChatMessage
        for what, request in (
                ("no message", self.messages.ChatRequest()),
                ("many messages", self.messages.ChatRequest(messages=[message(role="user", content="x")] * 5_000)),
                ("an unknown role", self.messages.ChatRequest(messages=[message(role="root", content="x")])),
                ("tools for a format that knows none",
                 self.messages.ChatRequest(messages=[message(role="user", content="x")], tools_json=["{"]))):
            self.refused(INVALID, "", lambda: list(self.stub.Chat(request, timeout=PATIENCE)), what)

    def test_other_methods_refuse_too(self):
        for ids in ([-1], [MOST]):
            request = self.messages.DetokenizeRequest(ids=ids)
            self.refused(INVALID, "ids", lambda: self.stub.Detokenize(request, timeout=PATIENCE), f"ids {ids}")
        for method in ("/trireme.v1.Inference/Nothing", "/no.such.Service/Call"):
            self.refused("UNIMPLEMENTED", "", lambda: self.raw(method, b""), method)

    def test_bytes_that_are_no_message_are_refused(self):
        for what, payload in (("noise", b"\xff" * 100), ("text that is no UTF-8", b"\x12\x02\xff\xfe"),
                              ("a length that lies", b"\x12\xff\xff\xff\x7fHi"), ("deep groups", DEEP)):
            for method in ("/trireme.v1.Inference/GenerateUnary", "/inference.GRPCInferenceService/ModelInfer"):
                if what.startswith("text") and "Infer" in method.rsplit("/", 1)[1]:
                    continue  # a version is read as text there, and this is none
                # Which of the two is gRPC's choice, and differs between its versions.
                self.refused("INTERNAL or UNIMPLEMENTED", "", lambda: self.raw(method, payload), f"{what} to {method}")

    def test_a_deadline_that_has_passed_is_one(self):
        for seconds in (0, 1e-6):
            self.refused("DEADLINE_EXCEEDED", "", lambda: self.stub.GenerateUnary(self.generate(
                {"prompt": "Hi"}), timeout=seconds), f"{seconds} s")

    def test_the_id_of_a_call_may_stand_in_its_metadata(self):
        metadata = (("x-request-id", "from-a-proxy"),)
        reply, call = self.stub.GenerateUnary.with_call(self.generate({"prompt": "Hi"}), timeout=PATIENCE,
                                                        metadata=metadata)
        self.assertEqual(reply.request_id, "from-a-proxy")
        self.assertIn(("x-request-id", "from-a-proxy"), call.initial_metadata())
        for what, identifier, code in (("long", "x" * 129, INVALID), ("running", "beside", "ALREADY_EXISTS")):
            self.refused(code, "request", lambda: self.stub.GenerateUnary(
                self.generate({"prompt": "Hi"}), timeout=PATIENCE, metadata=(("x-request-id", identifier),)), what)

    def test_metadata_without_end_is_refused(self):
        import grpc
        metadata = tuple((f"x-{index}", "y" * 1_000) for index in range(100))
        # On a connection of its own, which the server may close.
        with grpc.insecure_channel(self.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
            stub = self.services.InferenceStub(channel)
            self.refused("RESOURCE_EXHAUSTED", "", lambda: stub.Models(
                self.messages.ModelsRequest(), timeout=PATIENCE, metadata=metadata), "100 KB of metadata")

    def infer_request(self, inputs):
        request = self.kserve.ModelInferRequest(model_name=self.model)
        for name, datatype, shape, raw in inputs:
            request.inputs.add(name=name, datatype=datatype, shape=shape)
            request.raw_input_contents.append(raw)
        return request

    def test_kserve_refuses_each_row(self):
        for what, inputs, code, text in KSERVE:
            request = self.infer_request(inputs)
            self.refused(code, text, lambda: self.kserve_stub.ModelInfer(request, timeout=PATIENCE), what)

    def test_a_kserve_stream_outlives_each_row(self):
        bad = [self.infer_request(inputs) for _, inputs, code, _ in KSERVE if code == INVALID]
        good = self.infer_request([TEXT, ("sampling_parameters", "BYTES", [1], self.packed({"max_tokens": "3"}))])
        good.id = "good"
        replies = list(self.kserve_stub.ModelStreamInfer(iter(bad + [good]), timeout=PATIENCE))
        self.assertEqual(len(replies), len(bad) + 1)
        self.assertEqual([reply.infer_response.id for reply in replies if not reply.error_message], ["good"])

    @staticmethod
    def packed(value):
        text = json.dumps(value).encode()
        return struct.pack("<I", len(text)) + text

    def test_zz_the_request_beside_them_was_undisturbed(self):
        trireme.wait_until(lambda: len(self.beside_tokens) >= len(self.alone) or self.beside_error, "tokens", 30)
        self.assertIsNone(self.beside_error)
        self.assertEqual(self.beside_tokens[:len(self.alone)], self.alone)


if __name__ == "__main__":
    trireme.main()
