"""200 requests at once into a KV cache for 10: all are answered, each as if it were alone, none waits for ever, and
afterwards every page is free again."""

import concurrent.futures
import json
import pathlib
import random
import statistics
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import byte_model  # noqa: E402
import serving  # noqa: E402
import trireme_process as trireme  # noqa: E402

REQUESTS, PROMPT, TOKENS = 200, 72, 24  # three pages of 32 positions each
CACHE = 10 * (PROMPT + TOKENS)


class KvPressureTest(serving.ServingTest):
    shares_processes = False

    @classmethod
    def make_shards(cls, folder):
        cls.model = byte_model.copy("llama3-tiny-bf16", folder / "model")
        return trireme.shard(cls.model, folder / "shards", tp=2)

    @classmethod
    def serve(cls, folder, more_config=""):
        return super().serve(folder, f"groups:\n  - name: group\n    kv_positions: {CACHE}\n{more_config}")

    def prompts(self):
        draw = random.Random(4)
        return [[draw.randrange(3, 259) for _ in range(PROMPT)] for _ in range(REQUESTS)]

    def alone(self, prompts):
        """What each prompt gives on one rank, with a cache for all of it."""
        path = self.folder / "prompts.jsonl"
        path.write_text("".join(json.dumps({"prompt_tokens": prompt, "max_tokens": TOKENS, "temperature": 0.8, "seed": seed}) + "\n"
                                for seed, prompt in enumerate(prompts)))
        result, answers = trireme.generate("--model", self.model, "--prompts-file", path, "--ignore-eos",
                                           "--max-sequences", 1, timeout=240)
        self.assert_succeeds(result)
        return [answer["tokens"] for answer in answers]

    def ask(self, seed, prompt):
        """(tokens, seconds to the first of them)"""
        sampling = self.messages.SamplingParams(temperature=0.8, seed=seed)
        request = self.messages.GenerateRequest(prompt_tokens=self.messages.TokenIds(ids=prompt), max_tokens=TOKENS,
                                                sampling=sampling, ignore_eos=True)
        start, first, tokens = time.monotonic(), None, []
        for chunk in self.stub.Generate(request, timeout=180):
            if chunk.tokens and first is None:
                first = time.monotonic() - start
            tokens.extend(chunk.tokens)
        return tokens, first

    def test_all_are_answered_rightly_and_every_page_comes_back(self):
        prompts = self.prompts()
        expected = self.alone(prompts)
        with concurrent.futures.ThreadPoolExecutor(REQUESTS) as pool:
            answers = list(pool.map(self.ask, range(REQUESTS), prompts))
        for index, (tokens, _) in enumerate(answers):
            self.assertEqual(tokens, expected[index], f"request {index}")
        waits = [first for _, first in answers]
        print(f"wait for the first token: median {statistics.median(waits):.2f} s, longest {max(waits):.2f} s, "
              f"ratio {max(waits) / statistics.median(waits):.2f}", flush=True)

        def group():
            return self.stub.Models(self.messages.ModelsRequest(), timeout=10).models[0].groups[0]
        trireme.wait_until(lambda: group().running == 0 and group().counters.free_pages == CACHE // 32,
                           "no request holds a page any more", 10)


if __name__ == "__main__":
    trireme.main()
