"""Modules and style sheets are joined as the browser would have run them, or refused with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from dashboard.bundles import BundleError, bundle_scripts, bundle_sheets
from dashboard.static_files import StaticFiles

ROOT = Path(__file__).resolve().parents[2]


def scripts(**files: str) -> str:
    return bundle_scripts("js/main.js", {f"js/{name}.js": text for name, text in files.items()}.__getitem__, str)


def folder(root: Path, **files: str) -> Path:
    for name, text in {"icons.svg": "<svg/>", **files}.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("statement", "bound"),
    [
        ('import "./a.js";', ""),
        ('import { one } from "./a.js";', 'const { one: one } = need("js/a.js");'),
        ("import {\n  one,\n  two as other,\n} from './a.js'", 'const { one: one, two: other } = need("js/a.js");'),
        ('import all, { one } from "./a.js";', 'const { default: all, one: one } = need("js/a.js");'),
        ('import * as a from "./a.js";', 'const a = need("js/a.js");'),
    ],
)
def test_an_import_becomes_constants(statement: str, bound: str) -> None:
    text = scripts(main=f"{statement}\nrest();", a="export const one = 1, two = 2;")
    assert text.index('define("js/a.js"') < text.index('define("js/main.js"')
    assert bound in text
    assert "rest();" in text


@pytest.mark.parametrize(
    ("statement", "getter"),
    [
        ("export function one() {}", "get one() { return one; }"),
        ("export async function one() {}", "get one() { return one; }"),
        ("export const one = () => 1;", "get one() { return one; }"),
        ("export class One {}", "get One() { return One; }"),
        ("const one = 1;\nexport { one as two };", "get two() { return one; }"),
        ("export default 5;", "get default() { return $default; }"),
    ],
)
def test_an_export_becomes_a_getter(statement: str, getter: str) -> None:
    text = scripts(main='import "./a.js";', a=statement)
    assert getter in text
    assert "export" not in text


def test_a_module_runs_once_however_many_import_it() -> None:
    text = scripts(main='import "./a.js";\nimport "./b.js";', a='import "./c.js";', b='import "./c.js";', c="count();")
    assert text.count("count();") == 1
    assert "if (!modules.has(name))" in text


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"main": 'import "./gone.js";'}, "js/main.js imports js/gone.js, which does not exist"),
        ({"main": 'import "./a.js";', "a": 'import "./main.js";'}, "js/main.js imports js/a.js imports js/main.js"),
        ({"main": "export let n = 0;"}, "cannot join this statement: export let n = 0;"),
        ({"main": 'export * from "./a.js";', "a": ""}, "cannot join this statement"),
        ({"main": "start(import.meta.url);"}, "cannot join this statement"),
        ({"main": 'import "https://cdn.example/x.js";'}, "not below the static folder"),
        ({"main": 'import "../../secret.js";'}, "not below the static folder"),
    ],
)
def test_what_cannot_be_joined_is_refused_with_the_reason(files: dict[str, str], reason: str) -> None:
    with pytest.raises(BundleError, match=reason.replace(".", r"\.").replace("*", r"\*")):
        scripts(**files)


def test_style_sheets_stand_where_they_are_imported() -> None:
    files = {"css/main.css": '@import "a.css";\nb {}', "css/a.css": "a {}\n"}
    assert bundle_sheets("css/main.css", files.__getitem__) == "a {}\nb {}"
    with pytest.raises(BundleError, match=r"css/gone.css, which does not exist"):
        bundle_sheets("css/main.css", {"css/main.css": '@import "gone.css";'}.__getitem__)


def test_a_change_of_any_part_changes_every_name_that_holds_it(tmp_path: Path) -> None:
    files = {
        "js__main.js": 'import "./a.js";\nawait import("./late.js");',
        "js__a.js": "a();",
        "js__late.js": "late();",
        "css__main.css": '@import "a.css";',
        "css__a.css": 'a { src: url("../font.woff2"); }',
        "font.woff2": "font",
    }
    first = StaticFiles(folder(tmp_path / "1", **files))
    for changed, holders in {
        "js__a.js": {"js/main.js", "js/a.js"},
        "js__late.js": {"js/main.js", "js/late.js"},
        "css__a.css": {"css/main.css", "css/a.css"},
        "font.woff2": {"css/main.css", "css/a.css", "font.woff2"},
    }.items():
        second = StaticFiles(folder(tmp_path / changed, **{**files, changed: files[changed].replace("a", "b") + " "}))
        names = [name.replace("__", "/") for name in [*files, "icons.svg"]]
        assert {name for name in names if first.url_path(name) != second.url_path(name)} == holders


def test_every_file_of_ours_can_be_joined_and_every_module_is_reached() -> None:
    files = StaticFiles(ROOT / "static")
    entries = b"".join(files.find(f"js/{name}.js")[0].content for name in ("main", "charts"))
    modules = [path.name for path in (ROOT / "static" / "js").glob("*.js")]
    assert [name for name in modules if f'define("js/{name}"'.encode() not in entries] == []


def test_comments_are_not_sent_and_texts_that_look_like_them_are() -> None:
    text = scripts(main="// first\n/** Second.\n * @param {x} */\ncall('// third');\n")
    assert "first" not in text
    assert "Second" not in text
    assert "call('// third');" in text
    assert "// kept" in scripts(main="const a = `\n// kept\n`;")
    sheet = "/* gone */\na { content: '/* kept */'; }"
    assert bundle_sheets("css/main.css", {"css/main.css": sheet}.__getitem__) == "a { content: '/* kept */'; }"
