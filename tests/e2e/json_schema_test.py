"""200 completions at temperature 1 under ten JSON schemas: each validates with Python's jsonschema."""

import json
import pathlib
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import trireme_process as trireme  # noqa: E402

PER_SCHEMA = 20
WORD = {"type": "string", "maxLength": 24}

# Bounded, so that 400 tokens always suffice.
SCHEMAS = [
    {"type": "object", "properties": {"city": WORD, "country": WORD}, "required": ["city", "country"],
     "additionalProperties": False},
    {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0, "maximum": 120}, "name": WORD},
     "required": ["age"], "additionalProperties": False},
    {"type": "array", "items": {"type": "integer", "minimum": -5, "maximum": 99}, "minItems": 2, "maxItems": 6},
    {"enum": ["red", "green", {"mixed": [1, 2]}, None, 7]},
    {"type": "object", "properties": {"kind": {"const": "point"}, "x": {"type": "integer", "minimum": 0, "maximum": 9},
                                      "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3}},
     "required": ["kind", "x", "tags"], "additionalProperties": False},
    {"anyOf": [{"type": "boolean"}, {"type": "null"}, {"type": "string", "maxLength": 8}]},
    {"type": "object", "properties": {"who": {"$ref": "#/$defs/person"}, "friend": {"$ref": "#/$defs/person"}},
     "required": ["who", "friend"], "additionalProperties": False,
     "$defs": {"person": {"type": "object", "properties": {"name": WORD, "member": {"type": "boolean"}},
                          "required": ["name", "member"], "additionalProperties": False}}},
    {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{4}$"},
    {"type": "object", "properties": {"rows": {"type": "array", "minItems": 1, "maxItems": 2, "items": {
        "type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 2}}}, "required": ["rows"],
     "additionalProperties": False},
    {"type": "object", "properties": {"date": {"type": "string", "format": "date"}, "note": {"type": "string", "maxLength": 30}},
     "required": ["date", "note"], "additionalProperties": False},
]


class JsonSchemaTest(trireme.TriremeTest):
    def test_answers_under_a_schema_are_the_same_on_every_mesh(self):
        prompts = self.folder / "prompts.jsonl"
        prompts.write_text("\n".join(json.dumps({"prompt": "Answer in JSON: ", "max_tokens": 24, "temperature": 1.0, "seed": seed,
                                                 "json_schema": schema, "min_tokens": 3 * (seed % 2)})
                                     for seed, schema in enumerate(SCHEMAS)))
        flags = ["--model", trireme.smollm2(), "--prompts-file", prompts]
        alone, lines = trireme.generate(*flags)
        self.assert_succeeds(alone)
        self.assertEqual(len(lines), len(SCHEMAS))
        for tp, pp in ((2, 1), (1, 2), (2, 2)):
            with self.subTest(tp=tp, pp=pp):
                result, _ = trireme.generate(*flags, "--tp", tp, "--pp", pp, np=tp * pp)
                self.assert_succeeds(result)
                self.assertEqual(result.stdout, alone.stdout)

    def test_every_completion_under_a_schema_validates(self):
        import jsonschema
        prompts = self.folder / "prompts.jsonl"
        with open(prompts, "w", encoding="utf-8") as lines:
            for index, schema in enumerate(SCHEMAS):
                for seed in range(PER_SCHEMA):
                    print(json.dumps({"prompt": "Answer in JSON: ", "max_tokens": 400, "temperature": 1.0,
                                      "seed": 1000 * index + seed, "json_schema": schema}), file=lines)
        result, answers = trireme.generate("--model", trireme.smollm2(), "--prompts-file", prompts, timeout=240)
        self.assert_succeeds(result)
        self.assertEqual(len(answers), len(SCHEMAS) * PER_SCHEMA)
        texts = set()
        for index, answer in enumerate(answers):
            with self.subTest(index=index, text=answer["text"]):
                self.assertEqual(answer["finish_reason"], "stop")
                schema = SCHEMAS[index // PER_SCHEMA]
                jsonschema.validate(json.loads(answer["text"]), schema,
                                    format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
                texts.add(answer["text"])
        self.assertGreater(len(texts), len(answers) // 3)  # drawn, not one answer over and over


if __name__ == "__main__":
    trireme.main()
