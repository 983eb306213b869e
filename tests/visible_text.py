"""The texts that people see, read from templates, Python, JavaScript and documentation, each with its line."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser

Found = tuple[int, str]

_ATTRIBUTES = {"title", "aria-label", "placeholder", "alt"}
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_JINJA_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_LITERAL = re.compile(r'"((?:[^"\\\n]|\\.)*)"|\'((?:[^\'\\\n]|\\.)*)\'')
_JS_LITERAL = re.compile(_LITERAL.pattern + r"|`((?:[^`\\]|\\.)*)`")
_JS_COMMENT = re.compile(r"^\s*(?://|/?\*).*$|\s//\s.*$", re.MULTILINE)
_INSERTED = re.compile(r"\$\{[^}]*\}")
_CODE = re.compile(r"^```.*?^```|`[^`\n]*`|\]\([^)]*\)", re.DOTALL | re.MULTILINE)
# Names of fields, settings, classes and addresses: machines read them.
_NAME = re.compile(r"[a-z0-9_.:/*#?=&~<>-]*")
_VALUE = "…"  # stands for an inserted value


def in_template(source: str) -> Iterator[Found]:
    """Yield text, attributes that people read, and the literals of expressions of a Jinja template."""
    source = _JINJA_COMMENT.sub(_blank, source)
    for block in _JINJA.finditer(source):
        yield from _literals(_LITERAL, block.group(), _line(source, block.start()))
    reader = _Reader()
    reader.feed(_JINJA.sub(lambda block: _VALUE + _blank(block), source))
    yield from reader.found


def in_python(source: str) -> Iterator[Found]:
    """Yield the string literals of a Python module, but for names and docstrings; those of tasks are shown on pages."""
    tree = ast.parse(source)
    skipped = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    skipped -= {id(doc) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for doc in _task_doc(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else _VALUE for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            text = node.value
        else:
            continue
        if not _NAME.fullmatch(text):
            yield node.lineno, text


def in_javascript(source: str) -> Iterator[Found]:
    """Yield the string literals of a JavaScript module, but for names."""
    yield from _literals(_JS_LITERAL, _JS_COMMENT.sub(_blank, source), 1)


def in_markdown(source: str) -> Iterator[Found]:
    """Yield the lines of a document without code and addresses."""
    yield from enumerate(_CODE.sub(_blank, source).split("\n"), 1)


def _task_doc(function: ast.FunctionDef) -> Iterator[ast.expr]:
    names = [ast.unparse(one.func if isinstance(one, ast.Call) else one) for one in function.decorator_list]
    if "task" in names and isinstance(function.body[0], ast.Expr):
        yield function.body[0].value


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Found] = []

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep the attributes that people read."""
        self.found += [(self.getpos()[0], value) for name, value in attrs if name in _ATTRIBUTES and value]

    def handle_data(self, data: str) -> None:
        """Keep the text between tags, line by line."""
        first = self.getpos()[0]
        self.found += [(first + number, text.strip()) for number, text in enumerate(data.split("\n")) if text.strip()]


def _literals(pattern: re.Pattern[str], source: str, first_line: int) -> Iterator[Found]:
    for found in pattern.finditer(source):
        text = _INSERTED.sub(_VALUE, next((part for part in found.groups() if part is not None), ""))
        if not _NAME.fullmatch(text):
            yield first_line + source.count("\n", 0, found.start()), text


def _line(source: str, place: int) -> int:
    return source.count("\n", 0, place) + 1


def _blank(block: re.Match[str]) -> str:
    return "\n" * block.group().count("\n")
