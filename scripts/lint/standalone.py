"""Compiles headers alone, with the flags of its neighbours, and remembers which ones passed.

A header that needs another one included first is a trap for whoever includes it next. The verdict depends only
on the header, the project headers it reaches, the flags and the compiler, so it is cached by their hash.
"""

import concurrent.futures
import hashlib
import json
import pathlib
import shlex
import subprocess

_JOBS = 2


def _compilations(root, build):
    """(file, entry) of compile_commands.json for each file of the tree; generated code is left out."""
    path = build / "compile_commands.json"
    for entry in json.loads(path.read_text()) if path.exists() else []:
        file = pathlib.Path(entry["file"])
        if file.is_relative_to(root) and not file.is_relative_to(build):
            yield file.relative_to(root).as_posix(), entry


def compiled_files(root, build):
    return {file for file, _ in _compilations(root, build)}


class Flags:
    """Compiler and flags for a folder, from compile_commands.json."""

    def __init__(self, root, build):
        self._by_folder = {}
        for file, entry in _compilations(root, build):
            folder = file.rpartition("/")[0]
            self._by_folder.setdefault(folder, (entry["directory"], _syntax_only(entry["command"])))

    def of(self, header):
        """(directory, arguments) of the nearest folder that compiles something, or None."""
        candidates = []
        for folder, flags in sorted(self._by_folder.items()):
            shared = _common_parts(folder, header)
            if shared:
                candidates.append((shared, flags))
        return max(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def _common_parts(folder, header):
    count = 0
    for mine, theirs in zip(folder.split("/"), header.split("/")):
        if mine != theirs:
            break
        count += 1
    return count


def _syntax_only(command):
    words, kept = shlex.split(command), []
    while words and words[0].endswith("ccache"):
        words.pop(0)
    skip = False
    for word in words:
        if skip:
            skip = False
        elif word in ("-o", "-MF", "-MT", "-include", "-c"):
            skip = True
        elif word not in ("-MD", "-Winvalid-pch") and not word.startswith(("-O", "-Werror", "-W")):
            kept.append(word)
    return kept + ["-w", "-fsyntax-only", "-x", "c++", "-"]


def check(root, build, headers, reach, cache_folder):
    """(header, first error) of each header that does not compile alone. reach(header) lists what it includes."""
    flags = Flags(root, build)
    cache_folder.mkdir(parents=True, exist_ok=True)
    contents = {}

    def content(path):
        if path not in contents:
            contents[path] = hashlib.sha256((root / path).read_bytes()).hexdigest()
        return contents[path]

    def verdict(header):
        command = flags.of(header)
        if command is None:
            return None
        directory, arguments = command
        key = hashlib.sha256(json.dumps(
            [header, arguments, [[path, content(path)] for path in sorted(reach(header))]]).encode()).hexdigest()
        passed = cache_folder / key
        if passed.exists():
            return None
        result = subprocess.run(arguments, cwd=directory, text=True, capture_output=True, check=False,
                                input=f'#include "{header}"\n', timeout=300)
        if result.returncode == 0:
            passed.touch()
            return None
        errors = [line for line in result.stderr.splitlines() if "error" in line]
        return header, (errors or result.stderr.splitlines() or ["no message"])[0]

    with concurrent.futures.ThreadPoolExecutor(_JOBS) as pool:
        return [failure for failure in pool.map(verdict, headers) if failure]
