"""Both Slurm scripts on a real Slurm of two hosts: the batch equals the local run byte for byte, the service answers."""

import json
import pathlib
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import slurm_cluster  # noqa: E402
import trireme_process as trireme  # noqa: E402

PORT = 50051
QUESTION = "Which city is the capital of France? Answer in one sentence."


class SlurmTest(trireme.TriremeTest):
    shares_processes = True

    @classmethod
    def setUpClass(cls):
        cls.messages, cls.services = trireme.protocol()
        shared = pathlib.Path(tempfile.mkdtemp(prefix="trireme-slurm-"))
        cls.addClassCleanup(shutil.rmtree, shared, ignore_errors=True)
        cls.addClassCleanup(trireme.kill_descendants)
        cls.shards = trireme.shard(trireme.smollm2(), shared / "shards", tp=2)
        cls.cluster = cls.enterClassContext(slurm_cluster.SlurmCluster(shared))

    def setUp(self):
        super().setUp()
        self.folder.chmod(0o755)
        # Jobs are submitted from a folder where the program was built, as the README says.
        (self.folder / "build/release").mkdir(parents=True)
        (self.folder / "build/release/trireme").symlink_to(trireme.program)

    def submit(self, script, *arguments):
        self.log = self.folder / "job.log"
        return self.cluster.submit("--nodes=2", "--ntasks-per-node=1", "--output", self.log,
                                   trireme.source / "scripts/slurm" / script, *arguments, cwd=self.folder)

    def test_a_batch_equals_the_local_run_byte_for_byte(self):
        prompts = self.folder / "prompts.jsonl"
        lines = [{"prompt": "The three primary colours are"}, {"prompt": "Once upon a time", "max_tokens": 12},
                 {"prompt_tokens": [504, 260, 30], "seed": 7, "temperature": 0.8}]
        prompts.write_text("".join(json.dumps(line) + "\n" for line in lines))
        output = self.folder / "answers.jsonl"
        flags = ["--max-tokens", "24", "--logprobs", "3"]
        job = self.submit("generate.sbatch", self.shards, prompts.name, output.name, *flags)
        self.assertEqual(self.cluster.wait_for(job, 120), ("COMPLETED", "0:0"), self.log.read_text())
        local, answers = trireme.generate("--model", trireme.smollm2(), "--prompts-file", prompts, *flags)
        self.assert_succeeds(local)
        self.assertEqual(len(answers), len(lines))
        self.assertEqual(output.read_text(), local.stdout)

    def test_a_batch_that_cannot_run_fails_and_leaves_no_output(self):
        prompts = self.folder / "prompts.jsonl"
        prompts.write_text('{"prompt": "Hello"}\n')
        job = self.submit("generate.sbatch", self.folder / "no-such-model", prompts, self.folder / "answers.jsonl")
        state, code = self.cluster.wait_for(job, 60)
        self.assertEqual(state, "FAILED")
        self.assertNotEqual(code, "0:0")
        self.assertEqual([path.name for path in self.folder.glob("answers*")], [])

    def test_a_served_group_answers_and_ends_with_its_job(self):
        import grpc
        job = self.submit("serve.sbatch", self.shards, str(PORT))
        channel = grpc.insecure_channel(f"{self.cluster.address('node1')}:{PORT}", trireme.CHANNEL_OPTIONS)
        trireme.wait_until(lambda: trireme.health(channel) == "SERVING" or self.cluster.state(job)[0] == "FAILED",
                           "the service is ready", 60)
        self.assertEqual(self.cluster.state(job)[0], "RUNNING", self.log.read_text())
        stub = self.services.InferenceStub(channel)
        request = self.messages.ChatRequest(messages=[self.messages.ChatMessage(role="user", content=QUESTION)],
                                            max_tokens=64, sampling=self.messages.SamplingParams(temperature=0))
        answer = "".join(piece.text for piece in stub.Chat(request, timeout=60))
        self.assertIn("Paris", answer)
        models = stub.Models(self.messages.ModelsRequest(), timeout=10).models
        self.assertEqual([group.ranks for group in models[0].groups], [2])
        channel.close()
        self.cluster.run("scancel", "--signal=TERM", "--batch", job)
        self.assertEqual(self.cluster.wait_for(job, 30), ("COMPLETED", "0:0"), self.log.read_text())
        trireme.wait_until(lambda: not [stat for stat in trireme.descendants() if stat.name == "trireme"],
                           "every process of the job is gone", 15)


if __name__ == "__main__":
    trireme.main(before=slurm_cluster.enter)
