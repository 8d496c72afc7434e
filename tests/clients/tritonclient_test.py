"""Triton's own Python client, unmodified, against `trireme serve` with SmolLM2 over two ranks."""

import json
import pathlib
import queue
import struct
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402

PROMPT = "The three primary colours are"
DATATYPES = {"stream": "BOOL", "exclude_input_in_output": "BOOL", "ignore_eos": "BOOL", "max_tokens": "INT32",
             "temperature": "FP32", "beam_width": "INT32"}


class TritonClientTest(serving.ServingTest):
    """One server for all cases; what a case refuses disturbs none that follow."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        import tritonclient.grpc
        cls.triton = tritonclient.grpc
        cls.client = tritonclient.grpc.InferenceServerClient(cls.address)
        cls.addClassCleanup(cls.client.close)
        cls.model = cls.stub.Models(cls.messages.ModelsRequest(), timeout=30).models[0].name

    def inputs(self, prompt, **values):
        import numpy
        kinds = {"BOOL": bool, "INT32": numpy.int32, "FP32": numpy.float32, "BYTES": numpy.object_}
        tensors = []
        for name, value in {"text_input": prompt, **values}.items():
            datatype = DATATYPES.get(name, "BYTES")
            value = value.encode() if isinstance(value, str) else value
            tensors.append(self.triton.InferInput(name, [1], datatype))
            tensors[-1].set_data_from_numpy(numpy.array([value], dtype=kinds[datatype]))
        return tensors

    def infer(self, prompt=PROMPT, **values):
        return self.client.infer(self.model, self.inputs(prompt, **values), client_timeout=60)

    def text(self, result, name="text_output"):
        return b"".join(result.as_numpy(name)).decode()

    def expected(self, max_tokens, prompt=PROMPT):
        """The same completion over trireme.v1."""
        return self.stub.GenerateUnary(self.generate_request(prompt, max_tokens), timeout=60).text

    def open_stream(self):
        """A queue of (result, error), as the stream brings them."""
        arrived = queue.Queue()
        self.client.start_stream(callback=lambda result, error: arrived.put((result, error)), stream_timeout=60)
        self.addCleanup(self.client.stop_stream, cancel_requests=True)
        return arrived

    def assert_refused(self, status, call):
        with self.assertRaises(inference_error()) as caught:
            call()
        self.assertEqual(caught.exception.status(), f"StatusCode.{status}", caught.exception.message())
        return caught.exception.message()

    def test_the_server_and_its_model_are_ready(self):
        self.assertTrue(self.client.is_server_live())
        self.assertTrue(self.client.is_server_ready())
        self.assertTrue(self.client.is_model_ready(self.model))
        self.assertTrue(self.client.is_model_ready(self.model, "1"))
        self.assertFalse(self.client.is_model_ready("another"))
        self.assertEqual(trireme.health(self.channel, "inference.GRPCInferenceService"), "SERVING")

    def test_metadata_and_configuration_name_the_same_tensors(self):
        metadata = self.client.get_model_metadata(self.model)
        config = self.client.get_model_config(self.model).config
        self.assertEqual([tensor.name for tensor in metadata.inputs], [tensor.name for tensor in config.input])
        self.assertEqual({tensor.name: tensor.datatype for tensor in metadata.inputs}["text_input"], "BYTES")
        self.assertIn("text_output", [tensor.name for tensor in metadata.outputs])
        self.assertTrue(config.model_transaction_policy.decoupled)
        self.assertEqual(config.max_batch_size, 0)
        self.assertEqual(self.client.get_server_metadata().name, "trireme")
        index = self.client.get_model_repository_index().models
        self.assertEqual([(model.name, model.state) for model in index], [(self.model, "READY")])

    def test_infers_what_trireme_generates(self):
        text = self.expected(16)
        result = self.client.infer(self.model, self.inputs(PROMPT), request_id="mine", client_timeout=60)
        self.assertEqual(self.text(result), PROMPT + text)
        self.assertEqual(self.text(result, "finish_reason"), "length")
        self.assertEqual(result.get_response().id, "mine")
        self.assertEqual(self.text(self.infer(exclude_input_in_output=True, max_tokens=16)), text)

    def test_numbers_in_sampling_parameters_may_be_text(self):
        parameters = json.dumps({"max_tokens": "7", "min_tokens": "1", "temperature": "0", "top_k": -1, "stop": None})
        result = self.infer(sampling_parameters=parameters, exclude_input_in_output=True)
        self.assertEqual(self.text(result), self.expected(7))
        result = self.infer(sampling_parameters=parameters, exclude_input_in_output=True, max_tokens=3)
        self.assertEqual(self.text(result), self.expected(3))

    def test_answers_in_the_outputs_that_are_asked_for(self):
        outputs = [self.triton.InferRequestedOutput(name) for name in ("text_output", "num_output_tokens")]
        result = self.client.infer(self.model, self.inputs(PROMPT, max_tokens=5), outputs=outputs, client_timeout=60)
        self.assertEqual(list(result.as_numpy("num_output_tokens")), [5])
        self.assertIsNone(result.as_numpy("finish_reason"))

    def test_completions_of_one_prompt_are_elements_of_a_tensor(self):
        parameters = json.dumps({"n": 3, "temperature": 1, "seed": 7, "max_tokens": 8})
        texts = list(self.infer(sampling_parameters=parameters).as_numpy("text_output"))
        self.assertEqual(len(set(texts)), 3)

    def test_streams_the_text_piece_by_piece(self):
        arrived = self.open_stream()
        self.client.async_stream_infer(self.model, self.inputs(PROMPT, stream=True, max_tokens=12), request_id="s",
                                       enable_empty_final_response=True)
        pieces, final = [], False
        while not final:
            result, error = arrived.get(timeout=60)
            self.assertIsNone(error)
            self.assertEqual(result.get_response().id, "s")
            pieces.append(self.text(result))
            final = result.get_response().parameters["triton_final_response"].bool_param
        self.assertEqual("".join(pieces), self.expected(12))
        self.assertGreater(len(pieces), 3, "not streamed")
        self.assertEqual(self.text(result, "finish_reason"), "length")

    def test_requests_of_one_stream_run_together_and_an_error_of_one_leaves_the_others(self):
        arrived = self.open_stream()
        prompts = {"a": "The sun is", "b": "Water boils at", "c": "A good friend"}
        for name, prompt in prompts.items():
            self.client.async_stream_infer(self.model, self.inputs(prompt, stream=name != "c", max_tokens=20),
                                           request_id=name)
            self.client.async_stream_infer(self.model, self.inputs(prompt, max_tokens=-1), request_id="bad-" + name)
        texts, order, errors, ended = {}, [], [], set()
        while len(ended) < 3 or len(errors) < 3:
            result, error = arrived.get(timeout=60)
            if error is not None:
                errors.append(error.message())
                continue
            response = result.get_response()
            texts[response.id] = texts.get(response.id, "") + self.text(result)
            order.append(response.id)
            if response.parameters["triton_final_response"].bool_param:
                ended.add(response.id)
        for message in errors:
            self.assertIn("max_tokens", message)
        self.assertEqual(texts, {"a": self.expected(20, prompts["a"]), "b": self.expected(20, prompts["b"]),
                                 "c": prompts["c"] + self.expected(20, prompts["c"])})
        self.assertLess(order.index("b"), len(order) - 1 - order[::-1].index("a"), "not interleaved")

    def test_a_cancelled_stream_frees_the_engine(self):
        arrived = self.open_stream()
        self.client.async_stream_infer(self.model, self.inputs(PROMPT, stream=True, max_tokens=4000, ignore_eos=True))
        arrived.get(timeout=60)
        self.assertEqual(self.running(), 1)
        self.client.stop_stream(cancel_requests=True)
        trireme.wait_until(lambda: self.running() == 0, "the engine is free", 10)

    def test_refuses_a_stream_over_a_unary_call(self):
        self.assert_refused("UNIMPLEMENTED", lambda: self.infer(stream=True))

    def test_refuses_an_unknown_model_and_version(self):
        inputs = self.inputs(PROMPT)
        self.assert_refused("NOT_FOUND", lambda: self.client.infer("another", inputs))
        self.assert_refused("NOT_FOUND", lambda: self.client.infer(self.model, inputs, model_version="2"))
        self.assert_refused("NOT_FOUND", lambda: self.client.get_model_config("another"))

    def test_ends_at_the_timeout_of_the_request(self):
        inputs = self.inputs(PROMPT, max_tokens=4000, ignore_eos=True)
        self.assert_refused("DEADLINE_EXCEEDED", lambda: self.client.infer(self.model, inputs, timeout=300_000))

    def test_answers_in_contents_where_the_request_has_contents(self):
        from tritonclient.grpc import service_pb2, service_pb2_grpc
        request = service_pb2.ModelInferRequest(model_name=self.model, id="plain")
        for name, datatype, contents in (("text_input", "BYTES", {"bytes_contents": [PROMPT.encode()]}),
                                         ("max_tokens", "INT32", {"int_contents": [6]})):
            tensor = request.inputs.add(name=name, datatype=datatype, shape=[1, 1])
            tensor.contents.CopyFrom(service_pb2.InferTensorContents(**contents))
        response = service_pb2_grpc.GRPCInferenceServiceStub(self.channel).ModelInfer(request, timeout=60)
        self.assertEqual(len(response.raw_output_contents), 0)
        self.assertEqual(response.outputs[0].contents.bytes_contents[0].decode(), PROMPT + self.expected(6))
        del request.inputs[1]
        request.inputs[0].ClearField("contents")
        request.raw_input_contents.append(struct.pack("<I", len(PROMPT)) + PROMPT.encode())
        response = service_pb2_grpc.GRPCInferenceServiceStub(self.channel).ModelInfer(request, timeout=60)
        self.assertEqual(response.raw_output_contents[0][4:].decode(), PROMPT + self.expected(16))

    def test_statistics_count_what_came(self):
        self.infer(max_tokens=1)
        statistics = self.client.get_inference_statistics(self.model).model_stats[0]
        self.assertGreater(statistics.inference_stats.success.count, 0)
        self.assertGreater(statistics.inference_stats.success.ns, 0)


def inference_error():
    from tritonclient.utils import InferenceServerException
    return InferenceServerException


def skip_without_the_client():
    try:
        import tritonclient.grpc  # noqa: F401
    except ImportError:
        trireme.skip("tritonclient is not installed: run scripts/setup.sh")


if __name__ == "__main__":
    trireme.main(before=skip_without_the_client)
