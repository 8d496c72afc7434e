#!/usr/bin/env python3
"""Holds the house in shape: who may include whom, and how large a thing may grow.

The arrows are proto <- runtime <- parallel <- launcher, and inside runtime
base <- tensor <- ops <- checkpoint, kv <- model <- stage and base <- text, sampling <- engine. Above the StepPlan
(engine) there are requests and no tensors, below it (stage) tensors and no requests; only step/ joins the two.
ALLOWED below is the one place that says so. ctest runs this as `house`.

usage: house.py [--root DIR] [--build DIR] [--no-compile]     exit 0: nothing found, 1: findings, 2: misuse
"""

import argparse
import ast
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cpp_source  # noqa: E402
import standalone  # noqa: E402

# What each part may include of the others. A part is the longest entry that a file's folder begins with.
_RUNTIME = {
    "runtime/base": "",
    "runtime/tensor": "base",
    "runtime/ops": "base tensor",
    "runtime/checkpoint": "base tensor ops",
    "runtime/kv": "base tensor ops",
    "runtime/model": "base tensor ops checkpoint kv",
    "runtime/text": "base",
    "runtime/step": "base",
    "runtime/sampling": "base step",
    "runtime/engine": "base text sampling step",
    "runtime/stage": "base tensor ops checkpoint kv model sampling step",
}
ALLOWED = {part: {f"runtime/{name}" for name in names.split()} for part, names in _RUNTIME.items()}
ALLOWED |= {
    "proto": set(),
    "parallel": {"runtime/base", "runtime/tensor", "runtime/model"},
    "parallel/comm": {"parallel", "runtime/base", "runtime/tensor", "runtime/ops"},
    "parallel/shards": {"proto", "parallel", "runtime/base", "runtime/tensor", "runtime/ops", "runtime/checkpoint", "runtime/model"},
    "parallel/pipeline": {"parallel", "parallel/comm", "runtime/base", "runtime/tensor", "runtime/model", "runtime/step"},
    "parallel/group": {"parallel", "parallel/comm", "parallel/pipeline"} | set(ALLOWED) - {"runtime/engine", "runtime/text"},
}
_BELOW_LAUNCHER = set(ALLOWED)

# Headers of other projects that only some parts may see: (pattern, what it is, parts that may).
RESERVED = (
    (re.compile(r"^(grpc|grpcpp|google/protobuf|proto/)|\.pb\.h$"), "gRPC or Protobuf",
     ("proto", "parallel/shards", "launcher", "tests")),
    (re.compile(r"^mpi\.h$"), "MPI", ("parallel/comm", "launcher", "tests")),
    (re.compile(r"^hwy/"), "SIMD", ("runtime", "tests")),
    (re.compile(r"^regex$"), "std::regex (it overflows the stack on long input; use PCRE2)", ()),
)
GENERATED = re.compile(r"^((?:trireme/v1|kserve|rpc)/\w+)(?:\.grpc)?\.pb\.h$")
LINKED = re.compile(r"\b(gRPC::|grpc\w*|protobuf::\w+|trireme_proto)\b")

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 100
MAX_PARAMETERS = 6
MAX_FOLDER_FILES = 15

BANNED_WORDS = {"manager", "handler", "helper", "helpers", "util", "utils", "common", "impl", "info", "data",
                "context", "base", "ex", "new", "2"}
ALLOWED_NAMES = {"LayerContext", "Impl"}  # Impl: the struct behind a pointer
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
# (pattern in code, what is wrong with it, parts where it is fine)
BANNED_CODE = (
    (re.compile(r"\b(?:secure_)?getenv\s*\("), "getenv: only launcher/ reads the environment", ("launcher", "tests")),
    (re.compile(r"\bstd::regex\b"), "std::regex overflows the stack on long input; use PCRE2", ()),
    (re.compile(r"\bthrow\b(?!\s*\()"), "throw: return an absl::Status", ("tests",)),
    (re.compile(r"\balloca\s*\("), "alloca: input decides how much of the stack it takes", ()),
    (re.compile(r"(?<![\w.>:])assert\s*\("), "assert: a release build leaves it out; return a Status, or TRI_CHECK", ()),
    (re.compile(r"(?<![\w.>])(?:std::)?(?:system|popen)\s*\("), "system, popen: a shell reads what it is given as commands",
     ("tests",)),
    (re.compile(r"\bdlopen\s*\("), "dlopen: only runtime/ops loads code, its own backends", ("runtime/ops", "tests")),
    (re.compile(r"\.detach\s*\(\)"), "a detached thread has no owner", ()),
    (re.compile(r"\bnew\s+[A-Za-z_:]+[\w:<>]*\s*[({\[]"), "new: use std::make_unique", ("tests",)),
)
# A private constructor's object, owned at once.
OWNED_NEW = re.compile(r"(?:unique_ptr<[\w:<>, ]+>|WrapUnique)\s*\(\s*new\b")
# Highway's headers are included once a target, by a toggle instead of #pragma once, and never alone.
TOGGLED = "-inl.h"
SOURCES = {".cc", ".h", ".cu", ".cuh", ".proto", ".py", ".sh"}
CPP = {".cc", ".h", ".cu", ".cuh"}
TOP = ("runtime", "parallel", "proto", "launcher", "tests", "scripts", "configs")


def part_of(path):
    """The entry of the table that rules a file, or its top folder (launcher/<folder>, tests, scripts)."""
    folder = path.rsplit("/", 1)[0] if "/" in path else ""
    owners = [part for part in ALLOWED if folder == part or folder.startswith(part + "/")]
    if owners:
        return max(owners, key=len)
    return "/".join(folder.split("/")[:2]) if folder.startswith("launcher") else folder.split("/")[0]


def within(path, parts):
    return any(path.startswith(part + "/") for part in parts)


class House:
    """The tree under `root`: its files, and what was found wrong with them."""

    def __init__(self, root):
        self.root = root
        self.files = sorted(path for path in _tracked(root) if path.split("/")[0] in TOP)
        self.findings = []
        self._texts = {}
        self.includes = {path: cpp_source.includes(self.text(path)) for path in self.cpp()}

    def text(self, path):
        if path not in self._texts:
            self._texts[path] = (self.root / path).read_text(encoding="utf-8", errors="replace")
        return self._texts[path]

    def cpp(self):
        return [path for path in self.files if pathlib.PurePath(path).suffix in CPP]

    def find(self, path, line, message):
        self.findings.append(f"{path}:{line}: {message}")

    def own_includes(self, path):
        """(line, included file) of the project's own headers; a generated one stands for its schema."""
        targets = [(line, GENERATED.sub(r"proto/\1.proto", target)) for line, target, _ in self.includes.get(path, ())]
        return [(line, target) for line, target in targets if target.split("/")[0] in TOP]

    def reach(self, path):
        """`path` and every project file it includes, however far."""
        seen, queue = {path}, [path]
        while queue:
            for _, target in self.own_includes(queue.pop()):
                if target not in seen and (self.root / target).exists():
                    seen.add(target)
                    queue.append(target)
        return seen


def _tracked(root):
    """Files that git tracks or would track; every file where there is no git."""
    if (root / ".git").exists():
        listed = subprocess.run(["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard"],
                                capture_output=True, text=True, check=True).stdout.splitlines()
        return {path for path in listed if (root / path).is_file()}
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def check_includes(house):
    for path in house.cpp():
        part = part_of(path)
        for line, target, quoted in house.includes[path]:
            for pattern, what, parts in RESERVED:
                if pattern.search(target) and not within(path, parts):
                    house.find(path, line, f"includes {target}: {what} is not for {part}")
            if quoted and target.split("/")[0] not in TOP and (house.root / path).parent.joinpath(target).exists():
                house.find(path, line, f'includes "{target}": write the path from the root of the project')
        for line, target in house.own_includes(path):
            other = part_of(target)
            if other == part or part.startswith(("launcher", "tests", "scripts")):
                if part.startswith("launcher") and other == "tests":
                    house.find(path, line, f"includes {target}: only tests include tests")
                if path.startswith("tests/runtime/") and not within(target, ("runtime", "tests")):
                    house.find(path, line, f"includes {target}: a test of runtime/ sees only runtime/")
                continue
            if other not in ALLOWED.get(part, set()):
                allowed = ", ".join(sorted(ALLOWED.get(part, ()))) or "nothing of the project"
                house.find(path, line, f"includes {target}, against the arrows: {part} may include {allowed}")


def check_cycles(house):
    """Between parts, and between headers (which #pragma once would hide)."""
    between_parts, between_files = {}, {}
    for path in house.cpp():
        for line, target in house.own_includes(path):
            between_files.setdefault(path, []).append((target, path, line))
            if part_of(path) != part_of(target):
                between_parts.setdefault(part_of(path), []).append((part_of(target), path, line))
    for graph, what in ((between_parts, "folders"), (between_files, "files")):
        for cycle, path, line in _cycles(graph):
            house.find(path, line, f"closes a cycle of {what}: {' -> '.join(cycle)}")


def _cycles(graph):
    done, found = set(), []

    def visit(node, trail):
        for target, path, line in graph.get(node, ()):
            if target in trail:
                found.append((trail[trail.index(target):] + [target], path, line))
            elif target not in done:
                visit(target, trail + [target])
        done.add(node)

    for node in sorted(graph):
        if node not in done:
            visit(node, [node])
    return found


def check_linking(house):
    for path in house.files:
        if path.endswith("CMakeLists.txt") and within(path, ("runtime", "parallel/comm")):
            for number, line in enumerate(house.text(path).splitlines(), 1):
                if LINKED.search(line.split("#")[0]):
                    house.find(path, number, "links gRPC or Protobuf; runtime/ and parallel/comm must build without")


def check_sizes(house):
    folders = {}
    for path in house.files:
        suffix = pathlib.PurePath(path).suffix
        if suffix not in SOURCES:
            continue
        folders.setdefault(path.rsplit("/", 1)[0], []).append(path)
        lines = house.text(path).count("\n")
        if lines > MAX_FILE_LINES:
            house.find(path, MAX_FILE_LINES, f"{lines} lines; at most {MAX_FILE_LINES}: split it by concept")
        if suffix in CPP:
            _check_functions(house, path)
        elif suffix == ".py":
            _check_python(house, path)
    for folder, members in sorted(folders.items()):
        if len(members) > MAX_FOLDER_FILES:
            house.find(folder, 0, f"{len(members)} source files; at most {MAX_FOLDER_FILES}: split it by concept")


def _check_functions(house, path):
    for function in cpp_source.functions(house.text(path)):
        if function.lines > MAX_FUNCTION_LINES:
            house.find(path, function.line, f"{function.name}: {function.lines} lines; at most {MAX_FUNCTION_LINES}")
        if function.parameters > MAX_PARAMETERS:
            house.find(path, function.line, f"{function.name}: {function.parameters} parameters; at most "
                       f"{MAX_PARAMETERS}: name a struct")


def _check_python(house, path):
    for node in ast.walk(ast.parse(house.text(path))):
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > MAX_FUNCTION_LINES:
            house.find(path, node.lineno, f"{node.name}: more than {MAX_FUNCTION_LINES} lines")


def check_names(house):
    for path in house.files:
        stem, suffix = pathlib.PurePath(path).stem, pathlib.PurePath(path).suffix
        if suffix not in SOURCES:
            continue
        for word in set(re.split(r"[_\-.]", stem)) & BANNED_WORDS:
            house.find(path, 0, f"file name says '{word}': name what it holds")
        if suffix not in CPP:
            continue
        for line, name in cpp_source.declared_types(house.text(path)):
            words = {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}
            if name not in ALLOWED_NAMES and words & BANNED_WORDS:
                house.find(path, line, f"type {name} says '{min(words & BANNED_WORDS)}': name what it is")


def check_text(house):
    for path in house.files:
        suffix = pathlib.PurePath(path).suffix
        if suffix in SOURCES or path.endswith(("CMakeLists.txt", ".cmake")):
            for number, line in enumerate(house.text(path).splitlines(), 1):
                if UNFINISHED.search(line):
                    house.find(path, number, "unfinished: do it, or write an issue")
        if suffix not in CPP:
            continue
        if suffix in (".h", ".cuh") and not path.endswith(TOGGLED) and \
                not re.search(r"^#pragma once$", house.text(path), re.MULTILINE):
            house.find(path, 1, "header without #pragma once")
        code = OWNED_NEW.sub(lambda match: re.sub(r"[^\n]", " ", match.group(0)), cpp_source.blank(house.text(path)))
        for number, line in enumerate(code.splitlines(), 1):
            for pattern, what, parts in BANNED_CODE:
                if pattern.search(line) and not within(path, parts):
                    house.find(path, number, what)


def check_standalone(house, build):
    # A header that a compiled file includes first has been compiled alone by the build.
    compiled = standalone.compiled_files(house.root, build)
    proven = {house.includes[path][0][1] for path in house.cpp() if path in compiled and house.includes[path]}
    headers = [path for path in house.cpp()
               if path.endswith(".h") and not path.endswith(TOGGLED) and path not in proven]
    for header, error in standalone.check(house.root, build, headers, house.reach, build / "house"):
        house.find(header, 1, f"does not compile alone: {error}")


CHECKS = (check_includes, check_cycles, check_linking, check_sizes, check_names, check_text)


def inspect(root, build=None):
    """Findings as `file:line: message`, sorted; headers are compiled only where there is a build folder."""
    house = House(root)
    for check in CHECKS:
        check(house)
    if build is not None:
        check_standalone(house, build)
    return sorted(house.findings)


def main():
    here = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=pathlib.Path, default=here)
    parser.add_argument("--build", type=pathlib.Path, help="folder with compile_commands.json [ROOT/build/release]")
    parser.add_argument("--no-compile", action="store_true", help="skip the check that each header compiles alone")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    build = (arguments.build or root / "build/release").resolve()
    if not arguments.no_compile and not (build / "compile_commands.json").exists():
        print(f"house: no compile_commands.json in {build}: run cmake --preset release first, or give "
              "--build or --no-compile", file=sys.stderr)
        return 2
    findings = inspect(root, None if arguments.no_compile else build)
    for finding in findings:
        print(finding)
    print(f"house: {len(findings)} finding{'' if len(findings) == 1 else 's'}")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
