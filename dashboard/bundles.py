"""Join modules of JavaScript, and style sheets, into one file each: fewer requests, and no build step.

Each module becomes a function that runs once in a page, however many bundles hold it. Modules import each other by relative
names, as they would without bundling; what cannot be joined raises BundleError when the web process starts.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

Read = Callable[[str], str]  # the text of a file below the static folder; KeyError when there is none
_IMPORT = re.compile(r"""^import\s*(?:(?P<clause>[^"';()]+?)\s*from\s*)?["'](?P<source>[^"']+)["'];?""", re.M)
_LAZY_IMPORT = re.compile(r"""\bimport\(\s*(["'])(?P<source>\.[^"']+)\1\s*\)""")
_EXPORT_LIST = re.compile(r"""(?:^|(?<=[;}]))export\s*\{(?P<names>[^{}]*)\};?""", re.M)
_EXPORT_NAME = re.compile(r"^export\s+(?=(?:(?:async\s+)?function\s*\*?\s*|class\s+|const\s+)(?P<name>[\w$]+))", re.M)
_EXPORT_DEFAULT = re.compile(r"^export\s+default\s+", re.M)
_LEFT_OVER = re.compile(r"^(?:import\b(?!\()|export\b).*|\bimport\.meta\b.*", re.M)
_SHEET_IMPORT = re.compile(r"""^@import\s+["'](?P<source>[^"']+)["'];[ \t]*\n?""", re.M)
# Comments that fill whole lines, a quarter of what would be sent; those with `!` are notices of licences.
_SCRIPT_COMMENT = re.compile(r"^[ \t]*(?://.*|/\*(?!!)[^*]*(?:\*(?!/)[^*]*)*\*/[ \t]*)\n", re.M)
_SHEET_COMMENT = re.compile(r"^[ \t]*/\*(?!!)[^*]*(?:\*(?!/)[^*]*)*\*/[ \t]*\n", re.M)
_START = """const modules = (globalThis[Symbol.for("taskyard.modules")] ??= new Map());
const define = (name, make) => { if (!modules.has(name)) modules.set(name, make()); };
const need = (name) => modules.get(name);
"""


class BundleError(Exception):
    """A static file cannot be joined with those that it imports."""


@dataclass(frozen=True, slots=True)
class Module:
    """A module as a function: its body, what it exports as (name outside, name inside), and whom it imports."""

    body: str
    exports: tuple[tuple[str, str], ...]
    imports: tuple[str, ...]


def bundle_scripts(entry: str, read: Read, url_of: Callable[[str], str]) -> str:
    """Return the text of a module and of all that it imports, in the order in which they run.

    `url_of` gives the address of a module that is imported only when it is needed. Raises BundleError.
    """
    modules: dict[str, Module] = {}
    _collect(entry, read, url_of, modules, ())
    parts = [_START]
    for name, module in modules.items():
        getters = ", ".join(f"get {outside}() {{ return {inside}; }}" for outside, inside in module.exports)
        parts.append(f'define("{name}", () => {{\n{module.body}\nreturn {{ {getters} }};\n}});\n')
    if modules[entry].exports:
        parts.append(_reexport(entry, modules[entry]))
    return "".join(parts)


def _reexport(entry: str, module: Module) -> str:
    lines = []
    for number, (outside, _inside) in enumerate(module.exports):
        lines.append(f'const e{number} = need("{entry}").{outside};\nexport {{ e{number} as {outside} }};\n')
    return "".join(lines)


def _collect(
    name: str, read: Read, url_of: Callable[[str], str], modules: dict[str, Module], above: tuple[str, ...]
) -> None:
    if name in above:
        raise BundleError(f"{' imports '.join([*above, name])}: modules must not import each other in a circle.")
    if name in modules:
        return
    try:
        text = read(name)
    except KeyError as error:
        raise BundleError(f"{above[-1] if above else 'A template'} imports {name}, which does not exist.") from error
    module = _module(name, text, url_of)
    for imported in module.imports:
        _collect(imported, read, url_of, modules, (*above, name))
    modules[name] = module


def _module(name: str, text: str, url_of: Callable[[str], str]) -> Module:
    heads: list[str] = []
    imports: list[str] = []
    exports: list[tuple[str, str]] = []

    def take_import(match: re.Match[str]) -> str:
        source = resolve(name, match["source"])
        imports.append(source)
        heads.extend(_bindings(name, (match["clause"] or "").strip(), source))
        return ""

    def take_list(match: re.Match[str]) -> str:
        exports.extend((outside, inside) for inside, outside in _names(match["names"]))
        return ""

    def take_name(match: re.Match[str]) -> str:
        exports.append((match["name"], match["name"]))
        return ""

    def take_default(_match: re.Match[str]) -> str:
        exports.append(("default", "$default"))
        return "const $default = "

    if not _has_lines_in_texts(text):
        text = _SCRIPT_COMMENT.sub("", text)
    text = _IMPORT.sub(take_import, text)
    text = _EXPORT_DEFAULT.sub(take_default, text)
    text = _EXPORT_NAME.sub(take_name, text)
    text = _EXPORT_LIST.sub(take_list, text)
    text = _LAZY_IMPORT.sub(lambda match: f'import("{url_of(resolve(name, match["source"]))}")', text)
    left = _LEFT_OVER.search(text)
    if left is not None:
        raise BundleError(f"{name}: bundles.py cannot join this statement: {left[0][:80]}")
    return Module("\n".join([*heads, text.strip()]), tuple(exports), tuple(dict.fromkeys(imports)))


def _has_lines_in_texts(text: str) -> bool:
    """Return whether a template literal may span lines, in which case a line in it could look like a comment."""
    return any(line.count("`") % 2 for line in text.splitlines() if not line.lstrip().startswith(("//", "*", "/*")))


def _bindings(name: str, clause: str, source: str) -> Iterator[str]:
    """Write the constants that an import binds."""
    if not clause:
        return
    listed = re.fullmatch(
        r"(?:(?P<default>[\w$]+)\s*,?\s*)?(?:\{(?P<names>[^{}]*)\}|\*\s*as\s+(?P<all>[\w$]+))?", clause
    )
    if listed is None:
        raise BundleError(f"{name}: bundles.py cannot join the import of {clause[:80]}")
    pairs = [("default", listed["default"])] if listed["default"] else []
    pairs.extend(_names(listed["names"] or ""))
    if pairs:
        bound = ", ".join(f"{outside}: {inside}" for outside, inside in pairs)
        yield f'const {{ {bound} }} = need("{source}");'
    if listed["all"]:
        yield f'const {listed["all"]} = need("{source}");'


def _names(text: str) -> Iterator[tuple[str, str]]:
    for item in filter(None, (part.strip() for part in text.split(","))):
        first, _, second = item.partition(" as ")
        yield first.strip(), (second or first).strip()


def bundle_sheets(entry: str, read: Read) -> str:
    """Return the text of a style sheet with those of its folder that it imports in their place. Raises BundleError."""

    def take(match: re.Match[str]) -> str:
        source = resolve(entry, match["source"])
        if posixpath.dirname(source) != posixpath.dirname(entry):
            raise BundleError(f"{entry} imports {source}: style sheets are joined with those of their own folder.")
        try:
            return bundle_sheets(source, read)
        except KeyError as error:
            raise BundleError(f"{entry} imports {source}, which does not exist.") from error

    return _SHEET_IMPORT.sub(take, _SHEET_COMMENT.sub("", read(entry)))


def resolve(base: str, name: str) -> str:
    """Return the path below the static folder that a relative name in a file means. Raises BundleError."""
    path = posixpath.normpath(posixpath.join(posixpath.dirname(base), name))
    if name.startswith("/") or "://" in name or path.startswith(".."):
        raise BundleError(f"{base} names {name}, which is not below the static folder.")
    return path
