"""Reads C++ as text, just well enough to measure it: comments and strings blanked, includes, functions, types.

Nothing here parses C++ fully. Braces are counted with comments, literals and preprocessor lines blanked; what
opens a brace after a parameter list is a function, what opens one after class/struct/namespace is a scope whose
content is looked at the same way.
"""

import dataclasses
import re

_TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/|(?:u8|[uUL])?R"(?P<delimiter>[^()\\\s]{0,16})\(.*?\)(?P=delimiter)"'
    r'|"(?:\\.|[^"\\\n])*"|(?<![0-9A-Za-z_])\'(?:\\.|[^\'\\\n])+\'',
    re.DOTALL)
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)
_SCOPE = re.compile(r'^(?:template\s*<.*>\s*)?(?:inline\s+|typedef\s+|export\s+)*'
                    r'(?:namespace|class|struct|union|enum|extern\s+"[^"]*")(?![\w])', re.DOTALL)
_TYPE = re.compile(r'\b(?:class|struct|union|enum(?:\s+class|\s+struct)?)\s+(?:[A-Z][A-Z_0-9]+(?:\([^)]*\))?\s+'
                   r'|alignas\([^)]*\)\s*|\[\[[^\]]*\]\]\s*)*([A-Za-z_]\w*)\s*(?:final\s*)?(?=[:{;])'
                   r'|\busing\s+([A-Za-z_]\w*)\s*=')
_NOT_A_NAME = {"alignas", "decltype", "noexcept", "requires", "__attribute__", "explicit", "sizeof"}


@dataclasses.dataclass(frozen=True)
class Function:
    line: int  # 1-based, where its declaration begins
    lines: int  # from there to the closing brace
    parameters: int
    name: str


def blank(text, keep_strings=False):
    """`text` with comments (and strings) as spaces; line numbers stay."""

    def spaces(match):
        found = match.group(0)
        if keep_strings and not found.startswith(("//", "/*")):
            return found
        return re.sub(r"[^\n]", " ", found)

    return _TOKEN.sub(spaces, text)


def includes(text):
    """(line, path, quoted) of each include directive."""
    kept, code = blank(text, keep_strings=True), blank(text)
    return [(kept.count("\n", 0, match.start()) + 1, match.group(2), match.group(1) == '"')
            for match in _INCLUDE.finditer(kept) if code[kept.index("#", match.start())] == "#"]


def declared_types(text):
    """(line, name) of each type that is declared or defined."""
    code = blank(text)
    return [(code.count("\n", 0, match.start()) + 1, match.group(1) or match.group(2))
            for match in _TYPE.finditer(code)]


def _without_preprocessor(code):
    lines, continued = code.split("\n"), False
    for index, line in enumerate(lines):
        directive = continued or line.lstrip().startswith("#")
        continued = directive and line.rstrip().endswith("\\")
        if directive:
            lines[index] = ""
    return "\n".join(lines)


def _parameters(head):
    """(name, number of parameters) of a declaration, or None where it declares no function."""
    depth_angle = 0
    for index, char in enumerate(head):
        if char == "<":
            depth_angle += 1
        elif char == ">" and depth_angle > 0 and head[index - 1] != "-":
            depth_angle -= 1
        elif char == "=" and depth_angle == 0 and "operator" not in head[max(0, index - 12):index]:
            return None  # a variable with an initialiser
        elif char == "(" and depth_angle == 0:
            named = re.search(r"(operator\s*\S{1,3}|~?\w+)\s*$", head[:index])
            if named is None or named.group(1) in _NOT_A_NAME or head[index:index + 20].startswith("()("):
                continue
            return named.group(1), _count_arguments(head[index + 1:])
    return None


def _count_arguments(text):
    depth, commas, seen = 0, 0, False
    for index, char in enumerate(text):
        if char in "([{" or char == "<":
            depth += 1
        elif char == ">" and text[index - 1] == "-":
            continue
        elif char in ")]}" or char == ">":
            if char == ")" and depth <= 0:
                break
            depth -= 1
        elif char == "," and depth == 0:
            commas += 1
        seen = seen or not char.isspace()
    return commas + 1 if seen else 0


def _closing(code, index):
    """Index of the brace that closes the one at `index`, or the end of the text."""
    depth = 0
    for match in re.compile(r"[{}]").finditer(code, index):
        depth += 1 if match.group(0) == "{" else -1
        if depth == 0:
            return match.start()
    return len(code) - 1


def functions(text):
    """Every function defined (with its length) or declared (length 0) outside of other functions."""
    code = _without_preprocessor(blank(text))
    found, start, index = [], 0, 0
    for_line = _LineCounter(code)
    while index < len(code):
        char = code[index]
        if char not in "{};":
            index += 1
            continue
        head = re.sub(r"^(?:\s|public\s*:|private\s*:|protected\s*:)+", "", code[start:index])
        first = index - len(head)
        next_index = index + 1
        if char == "{" and not _SCOPE.match(head):
            close = _closing(code, index)
            declared = _parameters(head)
            # `: member_{value} {` of a constructor: the brace is an initialiser when a body still follows.
            after = code[close + 1:close + 200].lstrip()
            if declared and re.search(r"[\w>]$", head.rstrip()) and _in_initialisers(head) and after[:1] in ("{", ","):
                index = close + 1
                continue
            if declared:
                lines = for_line(close) - for_line(first) + 1
                found.append(Function(for_line(first), lines, declared[1], declared[0]))
            next_index = close + 1
        elif char == ";":
            declared = None if re.match(r"(?:using|typedef|static_assert|friend|return)\b", head) else _parameters(head)
            if declared:
                found.append(Function(for_line(first), 0, declared[1], declared[0]))
        index = start = next_index
    return found


def _in_initialisers(head):
    return re.search(r"\)\s*(?:noexcept\s*)?:(?!:)", head) is not None


class _LineCounter:
    def __init__(self, code):
        self._code = code

    def __call__(self, index):
        return self._code.count("\n", 0, index) + 1
