#!/usr/bin/env python3
"""lessons.json names, for what went wrong elsewhere, the tests that hold it here: each must exist, and be built or run."""

import ast
import json
import pathlib
import re
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def cpp_has(text, suite, name):
    return re.search(rf"^TEST(?:_F|_P)?\(\s*{re.escape(suite)},\s*{re.escape(name)}\)", text, re.MULTILINE) is not None


def python_has(text, suite, name):
    return any(isinstance(node, ast.ClassDef) and node.name == suite and
               any(isinstance(item, ast.FunctionDef) and item.name == name for item in node.body)
               for node in ast.walk(ast.parse(text)))


def is_run(path, root):
    """Whether a CMakeLists.txt of its folder, or of one above, names the file."""
    for folder in path.parents:
        lists = folder / "CMakeLists.txt"
        name = path.relative_to(folder).as_posix().removesuffix("_fuzz.cc").removesuffix(".py")
        if lists.exists() and re.search(rf"(?<![\w/]){re.escape(name)}\b", lists.read_text(encoding="utf-8")):
            return True
        if folder == root:
            break
    return False


def fault_of(reference, root=ROOT):
    """What is wrong with "FILE Suite.Name[/Case]" or, of a fuzz target, "FILE"; "" where nothing is."""
    file, _, test = reference.partition(" ")
    path = root / file
    if not path.is_file():
        return f"{file} is not there"
    text = path.read_text(encoding="utf-8")
    if not is_run(path, root):
        return f"no CMakeLists.txt names {file}"
    if not test:
        return "" if "LLVMFuzzerTestOneInput" in text else f"{file} is no fuzz target"
    name, _, case = test.partition("/")
    suite, _, name = name.partition(".")
    has = python_has if path.suffix == ".py" else cpp_has
    if not has(text, suite, name):
        return f"{file} has no test {suite}.{name}"
    if case and f'"{case}"' not in text:
        return f'{file} has no case "{case}"'
    return ""


class LessonsTest(unittest.TestCase):
    def setUp(self):
        self.lessons = json.loads((ROOT / "tests/lessons/lessons.json").read_text(encoding="utf-8"))["lessons"]

    def test_every_lesson_has_tests_that_exist_or_says_why_it_needs_none(self):
        faults = []
        for lesson in self.lessons:
            self.assertTrue(lesson["of"] and lesson["rule"], lesson)
            self.assertNotEqual("tests" in lesson, "absent" in lesson, lesson["of"])
            self.assertTrue(lesson.get("tests") or lesson.get("absent"), lesson["of"])
            faults += [f"{lesson['of']}: {fault}" for fault in map(fault_of, lesson.get("tests", ())) if fault]
            faults += [f"{lesson['of']}: {path} is there now: name its tests"
                       for path in lesson.get("no_files", ()) if (ROOT / path).exists()]
        self.assertEqual(faults, [])

    def test_a_test_that_is_gone_is_found(self):
        known = "tests/lessons/lessons_test.py LessonsTest.test_a_test_that_is_gone_is_found"
        self.assertEqual(fault_of(known), "")
        self.assertIn("not there", fault_of("tests/lessons/gone.cc A.B"))
        self.assertIn("no test", fault_of("tests/lessons/lessons_test.py LessonsTest.test_gone"))
        self.assertIn("no fuzz target", fault_of("tests/house/house_test.py"))
        self.assertTrue(cpp_has("\nTEST_F(A,\n     B) {\n", "A", "B"))
        self.assertFalse(cpp_has("// TEST(A, B)\n", "A", "B"))


if __name__ == "__main__":
    unittest.main()
