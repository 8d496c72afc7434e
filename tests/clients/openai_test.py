"""The `openai` package, unmodified, against a two-rank `trireme serve` of SmolLM2."""

import json
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402

QUESTION = [{"role": "user", "content": "Which city is the capital of France? Answer in one sentence."}]
WEATHER = {"type": "function", "function": {
    "name": "weather", "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 20}},
                   "required": ["city"], "additionalProperties": False}}}


class OpenAiTest(serving.HttpServingTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        import openai
        cls.openai = openai
        cls.client = openai.OpenAI(base_url=f"http://{cls.http}/v1", api_key="none", max_retries=0, timeout=60)
        cls.addClassCleanup(cls.client.close)
        cls.model = cls.client.models.list().data[0].id

    def chat_with(self, messages=QUESTION, **fields):
        fields.setdefault("temperature", 0)
        return self.client.chat.completions.create(model=self.model, messages=messages, **fields)

    def complete(self, prompt, **fields):
        fields.setdefault("temperature", 0)
        return self.client.completions.create(model=self.model, prompt=prompt, **fields)

    def test_models(self):
        model = self.client.models.retrieve(self.model)
        self.assertEqual((model.id, model.object, model.owned_by), (self.model, "model", "trireme"))

    def test_a_chat_and_its_stream_say_the_same(self):
        whole = self.chat_with(max_completion_tokens=40)
        self.assertIn("Paris", whole.choices[0].message.content)
        self.assertEqual(whole.choices[0].finish_reason, "stop")
        self.assertEqual(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens)
        chunks = list(self.chat_with(max_tokens=40, stream=True, stream_options={"include_usage": True}))
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        self.assertEqual(text, whole.choices[0].message.content)
        self.assertEqual(chunks[-2].choices[0].finish_reason, "stop")
        self.assertEqual(chunks[-1].choices, [])
        self.assertEqual(chunks[-1].usage, whole.usage)
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertGreater(len(chunks), 5)

    def test_the_answer_is_grpcs(self):
        pieces = self.stub.Chat(self.chat(QUESTION[0]["content"], 40), timeout=60)
        self.assertEqual(self.chat_with(max_tokens=40).choices[0].message.content, "".join(p.text for p in pieces))

    def test_completions_of_every_form_of_prompt(self):
        one = self.complete("The sun is", max_tokens=8).choices[0].text
        batch = self.complete(["The sun is", "Water boils at"], max_tokens=8)
        self.assertEqual(batch.choices[0].text, one)
        self.assertEqual([choice.index for choice in batch.choices], [0, 1])
        ids = self.stub.Tokenize(self.messages.TokenizeRequest(text="The sun is"), timeout=30).ids
        self.assertEqual(self.complete(list(ids), max_tokens=8).choices[0].text, one)
        self.assertEqual(self.complete([list(ids)], max_tokens=8, echo=True).choices[0].text, "The sun is" + one)
        streamed = self.complete("The sun is", max_tokens=8, stream=True)
        self.assertEqual("".join(chunk.choices[0].text for chunk in streamed if chunk.choices), one)

    def test_n_seed_stop_and_bias(self):
        first, again = (self.chat_with(n=3, seed=7, temperature=1, max_tokens=12) for _ in range(2))
        texts = [choice.message.content for choice in first.choices]
        self.assertEqual(len(set(texts)), 3)
        self.assertEqual(texts, [choice.message.content for choice in again.choices])
        text = self.complete("One, two, three, four,", max_tokens=24).choices[0].text
        stop = text[10:14]
        cut = self.complete("One, two, three, four,", max_tokens=24, stop=[stop]).choices[0]
        self.assertEqual((cut.text, cut.finish_reason), (text[:text.index(stop)], "stop"))
        biased = self.complete("Hi", max_tokens=3, logit_bias={"100": 100}, logprobs=0).choices[0]
        self.assertEqual(len(set(biased.logprobs.tokens)), 1)

    def test_logprobs(self):
        chat = self.chat_with(max_tokens=5, logprobs=True, top_logprobs=3).choices[0]
        self.assertEqual(len(chat.logprobs.content), 5)
        for one in chat.logprobs.content:
            self.assertEqual(len(one.top_logprobs), 3)
            self.assertEqual(one.token, one.top_logprobs[0].token)  # greedy
            self.assertEqual(bytes(one.bytes).decode(errors="replace"), one.token)
        legacy = self.complete("The sun is", max_tokens=4, logprobs=2, echo=True).choices[0].logprobs
        self.assertIsNone(legacy.token_logprobs[0])
        self.assertEqual("".join(legacy.tokens[:3]), "The sun is")
        self.assertEqual(legacy.text_offset[:3], [0, 3, 7])
        scored = self.complete("The sun is", max_tokens=0, logprobs=2, echo=True).choices[0]
        self.assertEqual(scored.logprobs.token_logprobs, legacy.token_logprobs[:3])
        self.assertEqual(scored.text, "The sun is")

    def test_json_by_schema(self):
        schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}, "big": {"type": "boolean"}},
                  "required": ["city", "big"], "additionalProperties": False}
        reply = self.chat_with(max_tokens=60, response_format={
            "type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}})
        self.assertEqual(list(json.loads(reply.choices[0].message.content)), ["city", "big"])

    def test_tools(self):
        for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
            reply = self.chat_with([{"role": "user", "content": "How is the weather in Oslo?"}], tools=[WEATHER],
                                   tool_choice=choice, max_tokens=80).choices[0]
            self.assertEqual(reply.finish_reason, "tool_calls")
            self.assertIsNone(reply.message.content)
            call = reply.message.tool_calls[0]
            self.assertEqual(call.function.name, "weather")
            self.assertEqual(list(json.loads(call.function.arguments)), ["city"])
        chunks = list(self.chat_with([{"role": "user", "content": "How is the weather in Oslo?"}], tools=[WEATHER],
                                     tool_choice="required", max_tokens=80, stream=True))
        calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        self.assertEqual("".join(part.function.arguments for part in calls), call.function.arguments)
        self.assertEqual(chunks[-1].choices[0].finish_reason, "tool_calls")
        answer = self.chat_with([
            {"role": "user", "content": "How is the weather in Oslo?"},
            {"role": "assistant", "tool_calls": [call.model_dump()]},
            {"role": "tool", "tool_call_id": call.id, "content": "Rain, 4 degrees."}], tools=[WEATHER],
            tool_choice="none", max_tokens=20).choices[0].message
        self.assertIsNone(answer.tool_calls)
        self.assertTrue(answer.content)

    def test_other_servers_fields(self):
        fields = {"ignore_eos": True, "min_tokens": 5, "top_k": 5, "min_p": 0.05, "repetition_penalty": 1.1}
        reply = self.chat_with(max_tokens=70, extra_body=fields)
        self.assertEqual(reply.usage.completion_tokens, 70)
        chunks = self.chat_with(max_tokens=4, stream=True, stream_options={"include_usage": True},
                                extra_body={"stream_options": {"include_usage": True, "continuous_usage_stats": True}})
        self.assertTrue(all(chunk.usage is not None for chunk in chunks))

    def test_errors_are_the_packages_own(self):
        openai = self.openai
        with self.assertRaises(openai.BadRequestError) as caught:
            self.chat_with(temperature=-1)
        self.assertEqual(caught.exception.code, "invalid_value")
        self.assertIn("temperature", caught.exception.message)
        with self.assertRaises(openai.NotFoundError):
            self.client.chat.completions.create(model="gpt-4", messages=QUESTION)
        with self.assertRaises(openai.BadRequestError):
            self.complete("x", suffix="y")
        with self.assertRaises(openai.NotFoundError):
            self.client.embeddings.create(model=self.model, input="x")

    def test_a_batch(self):
        lines = [{"custom_id": f"line-{i}", "method": "POST", "url": "/v1/completions",
                  "body": {"model": self.model, "prompt": prompt, "max_tokens": 6, "temperature": temperature}}
                 for i, (prompt, temperature) in enumerate([("The sun is", 0), ("Water boils at", 0), ("Hi", -1)])]
        text = "\n".join(json.dumps(line) for line in lines)
        file = self.client.files.create(file=("in.jsonl", text.encode()), purpose="batch")
        self.assertEqual(self.client.files.content(file.id).text, text)
        batch = self.client.batches.create(input_file_id=file.id, endpoint="/v1/completions", completion_window="24h",
                                           metadata={"why": "a test"})
        trireme.wait_until(lambda: self.client.batches.retrieve(batch.id).status == "completed", "the batch ends", 60)
        batch = self.client.batches.retrieve(batch.id)
        self.assertEqual((batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed),
                         (3, 2, 1))
        answers = [json.loads(line) for line in self.client.files.content(batch.output_file_id).text.splitlines()]
        self.assertEqual([answer["custom_id"] for answer in answers], ["line-0", "line-1"])
        self.assertEqual(answers[0]["response"]["body"]["choices"][0]["text"],
                         self.complete("The sun is", max_tokens=6).choices[0].text)
        self.assertIn("temperature", self.client.files.content(batch.error_file_id).text)
        self.assertIn(batch.id, [one.id for one in self.client.batches.list()])
        self.assertTrue(self.client.files.delete(file.id).deleted)
        with self.assertRaises(self.openai.NotFoundError):
            self.client.files.retrieve(file.id)

    def test_leaving_a_stream_frees_the_engine(self):
        stream = self.complete("Count: one, two,", max_tokens=4000, stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        self.assertEqual(self.running(), 1)
        stream.close()
        trireme.wait_until(lambda: self.running() == 0, "the request has ended", 10)


if __name__ == "__main__":
    trireme.main()
