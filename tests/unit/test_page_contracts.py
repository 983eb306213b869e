"""What pages, scripts, styles and the server agree on by name: each hook, key, region and live event has both of its ends."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest

from dashboard.live import ROOM
from dashboard.live_server import EVENTS
from dashboard.presenters import health
from dashboard.relay import Coalescer
from workers.services.history import Span

ROOT = Path(__file__).resolve().parents[2]
# Hooks whose values are names that somebody reads; the values of the others are data.
NAMES = ("behavior", "part", "confirm", "opens", "rows", "kind", "size", "form", "at", "whole")
# For programs that watch a channel; no page does.
NOT_FOR_PAGES = {"published"}
LIFE_OF_A_CONNECTION = {"connect", "disconnect", "connect_error"}


@cache
def texts(folder: str, suffix: str) -> Mapping[str, str]:
    """Read the files below a folder, without their comments."""
    return {
        path.relative_to(ROOT).as_posix(): without_comments(path.read_text())
        for path in sorted((ROOT / folder).rglob(f"*{suffix}"))
        if "vendor" not in path.parts
    }


def without_comments(text: str) -> str:
    text = re.sub(r"\{#.*?#\}|/\*.*?\*/", "", text, flags=re.S)
    return re.sub(r"^\s*//.*$", "", text, flags=re.M)


def templates() -> Mapping[str, str]:
    return texts("templates", ".html")


def scripts() -> Mapping[str, str]:
    return texts("static/js", ".js")


def styles() -> Mapping[str, str]:
    return texts("static/css", ".css")


def code() -> Mapping[str, str]:
    return {**texts("dashboard", ".py"), **texts("workers", ".py")}


def found(pattern: str, *sources: Mapping[str, str]) -> set[str]:
    return {match for source in sources for text in source.values() for match in re.findall(pattern, text)}


def hyphened(name: str) -> str:
    """Write the name of a property of `dataset` as that of its attribute."""
    return re.sub(r"[A-Z]", lambda letter: "-" + letter[0].lower(), name)


def chart_hooks() -> set[str]:
    """Return the hooks that the template of the charts writes by the names that their options and marks have."""
    span = Span.until(datetime(2026, 1, 2, 3, tzinfo=UTC), 60, 5)
    ended = [{"completed": 1, "failed": 1, "retried": 1, "canceled": 1} for _ in span.starts]
    measured = {name: [[1.0, 2.0, 3.0] for _ in span.measured.starts] for name in ("wait", "run")}
    names = ("queue_length", "oldest_wait_seconds", "workers_busy", "cpu_percent", "memory_percent")
    row = dict.fromkeys((*names, "disk_percent", "database_bytes", "probe_ms"), 1.0)
    charts = [*health.jobs(span, ended, measured, [90.0]).values(), *health.machine(span, [row] * len(ended), row)]
    marks = {mark for chart in charts for column in chart.columns for mark in column.marks}
    return marks | {option for chart in charts for option in chart.options}


def written_hooks() -> set[str]:
    attributes = found(r"(?<![\w-])data-([a-z-]+)", templates()) | found(r"(?<![\w-])data-([a-z-]+)=\"", code())
    properties = found(r"dataset\.(\w+)\s*=(?!=)", scripts())
    return attributes | chart_hooks() | {hyphened(name) for name in properties} | toggled()


def toggled() -> set[str]:
    return found(r"(?:set|toggle)Attribute\(\"data-([a-z-]+)\"", scripts())


def read_hooks() -> set[str]:
    selectors = found(r"\[data-([a-z-]+)", scripts(), styles()) | found(r"hasAttribute\(\"data-([a-z-]+)\"", scripts())
    properties = found(r"dataset\??\.(\w+)\b(?!\s*=[^=])", scripts()) | found(r"\"(\w+)\" in [\w.]*dataset", scripts())
    spread = ",".join(found(r"\{([^{}]*)\} = [\w.]+\.dataset", scripts()))
    # The heads of a chart's table are read as objects of what their hooks hold.
    charts = {path: text for path, text in scripts().items() if "chart" in path}
    properties |= set(re.findall(r"(?:^|,)\s*(\w+)", spread)) | found(r"\bhead\.(\w+)", charts)
    properties |= found(r"\"(\w+)\" in heads\[", charts) | found(r"fillOf\(paint, \{ (\w+)", charts)
    return selectors | {hyphened(name) for name in properties}


def test_each_hook_that_is_written_is_read() -> None:
    assert written_hooks() - read_hooks() == set()


def test_each_hook_that_is_read_is_written() -> None:
    # A label is no hook: the text of a head, not an attribute of it.
    assert read_hooks() - written_hooks() - {"label"} == set()


@pytest.mark.parametrize("hook", NAMES)
def test_each_name_in_a_hook_has_both_ends(hook: str) -> None:
    written = found(rf"data-{hook}=\"([a-z][a-z-]*)\"", templates())
    readers = {path: text for path, text in scripts().items() if hook in hooks_of(text)}
    selected = found(rf"\[data-{hook}=\"?([a-z][a-z-]*)\"?\]", scripts(), styles())
    literals = found(r"\"([a-z][a-z-]*)\"", readers)
    ids = found(r"<dialog[^>]* id=\"([a-z-]+)\"", templates()) if hook == "opens" else set()
    assert written - selected - literals - ids == set(), "written and read by nobody"
    quoted = found(r"[\"']([a-z][a-z-]*)[\"']", templates(), texts("dashboard", ".py"), readers)
    assert selected - written - quoted == set(), "read and written by nobody"


def hooks_of(script: str) -> set[str]:
    properties = re.findall(r"dataset\??\.(\w+)", script)
    return set(re.findall(r"data-([a-z-]+)", script)) | {hyphened(name) for name in properties}


def test_the_partial_of_each_region_is_what_the_server_draws_for_it() -> None:
    pattern = r"data-region=\"([a-z_]+)\"[^>]*>\{% include \"([^\"]+)\" %\}"
    shown = found(pattern, templates())
    assert {name for name, _partial in shown} == found(
        r"data-region=\"([a-z_]+)\"(?![^>]*data-region-lazy)", templates()
    )
    pages = " ".join(texts("dashboard/pages", ".py").values())
    drawn = set(re.findall(r"\"([a-z_]+/_[a-z_]+\.html)\"", pages))
    for folder, names in re.findall(r"f\"([a-z_]+/_)\{name\}\.html\" for name in \(([^)]*)\)", pages):
        drawn |= {f"{folder}{name}.html" for name in re.findall(r"\"(\w+)\"", names)}
    assert {partial for _name, partial in shown} - drawn == set()


# Keys.


def pressed_keys() -> set[str]:
    """Return the keys that press a button or link of a page."""
    written = found(r"data-(?:row-)?key=\"(\w)\"", templates()) | found(r"\bkey=\"(\w)\"", templates())
    written |= found(r"dataset\.key = \"(\w)\"", scripts())
    loops = found(
        r"for [\w, ]*\bkey in \(([^%]*)\) %\}(?=[^%]*\{%|\s*<button)", {"": templates()["templates/jobs/page.html"]}
    )
    return written | set(re.findall(r"\"(\w)\"\)", " ".join(loops)))


def script_table(name: str) -> dict[str, str]:
    """Read an object of keys from the script."""
    body = re.search(rf"const {name} = \{{(.*?)\}};$", scripts()["static/js/keys.js"], re.M | re.S)
    assert body is not None
    pairs = re.findall(r"(?:^|[,{\s])\"?([?/\w])\"?: (\"[^\"]*\"|\(\) =>|\w+)", body[1])
    return {key: value.strip('"') for key, value in pairs}


def sheet() -> dict[str, list[str]]:
    """Read the keys of the sheet: by its section, each as it is written there."""
    sections = re.findall(r"<section><h3>([^<]+)</h3><dl>\s*(.*?)</dl>", templates()["templates/_dialogs.html"], re.S)
    listed = {title: re.findall(r"\(\"[^\"]+\", (\([^()]*\)|\"[^\"]+\")\)", body) for title, body in sections}
    return {title: [" ".join(re.findall(r"\"([^\"]+)\"", keys)) for keys in rows] for title, rows in listed.items()}


def test_each_key_of_the_sheet_does_something_and_each_key_is_on_the_sheet() -> None:
    anywhere, places, rows = sheet().values()
    plain, script = script_table("PLAIN"), scripts()["static/js/keys.js"]
    handled = {*plain, *pressed_keys(), "Ctrl K", "Esc", "↵"} - {"g"}
    assert 'event.key !== "k"' in script
    assert 'event.key === "Escape"' in script
    assert 'key === "Enter"' in script
    assert {*anywhere, *rows} == handled
    assert set(places) == set(script_table("PAGES"))


def test_letters_of_pages_are_the_same_on_the_sheet_in_the_menu_and_in_the_script() -> None:
    base = templates()["templates/base.html"]
    pages = dict(re.findall(r"\(\"(\w+)\", \"(/[\w-]*)\", \"\w+\", \"[^\"]+\"\)", base))
    letters = re.search(r"set page_keys = \{(.*?)\}", base)
    assert letters is not None
    menu = {letter: pages[name] for name, letter in re.findall(r"\"(\w+)\": \"(\w)\"", letters[1])}
    assert script_table("PAGES") == menu | {"k": "/stuck"}


def test_each_key_that_a_tooltip_names_does_something() -> None:
    named = found(r"title=\"[^\"]*\((\S{1,3})\)\"", templates()) | found(r"\((\S)\)\"", scripts())
    assert named - {*script_table("PLAIN"), *pressed_keys(), "Esc"} == set()


# Live events.


def trees(folder: str) -> list[ast.AST]:
    return [ast.parse((ROOT / path).read_text()) for path in code() if path.startswith(folder)]


def first_arguments(names: tuple[str, ...], at: int, folder: str) -> set[str]:
    """Return the literals at one place of the arguments of calls of these functions or methods."""
    literals = set()
    for tree in trees(folder):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and len(node.args) > at and called(node) in names:
                argument = node.args[at]
                if isinstance(argument, ast.Constant):
                    literals.add(str(argument.value))
    return literals


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", getattr(node.func, "id", ""))


def test_each_event_that_the_server_sends_is_handled_and_the_other_way_round() -> None:
    sent = first_arguments(("_emit",), 0, "dashboard/relay.py") | first_arguments(("emit",), 0, "dashboard/live.py")
    handled = found(r"socket\.on\(\"(\w+)\"", scripts())
    assert sent - NOT_FOR_PAGES == handled - LIFE_OF_A_CONNECTION
    documented = (ROOT / "docs/api.md").read_text()
    assert [event for event in sent if f"`{event}`" not in documented] == []


def test_each_event_that_pages_send_is_answered() -> None:
    sent = found(r"socket\.emit(?:WithAck)?\(\"(\w+)\"", scripts())
    assert sent == EVENTS


def test_each_message_of_the_channel_is_taken_and_published() -> None:
    taken = found(r"kind == \"(\w+)\"", {"": code()["dashboard/relay.py"]})
    published = found(r"\"type\": \"(\w+)\"", {path: text for path, text in code().items() if is_publisher(text)})
    assert published == taken


def is_publisher(text: str) -> bool:
    return "live.publish(" in text or "live.written(" in text


def changed_kinds() -> set[str]:
    return {"job"} | first_arguments(("tell_kind", "word_of_kind"), 1, "workers")


def test_each_kind_of_change_is_waited_for_and_happens() -> None:
    wishes = {wish for text in templates().values() for wish in wishes_of(text)}
    events = {wish.split(":")[0] for wish in wishes}
    assert events == found(r"refreshOn\(\"(\w+)\"", scripts())
    assert {wish.split(":")[1] for wish in wishes if ":" in wish} == changed_kinds()


def wishes_of(text: str) -> list[str]:
    return [wish for wishes in re.findall(r"data-region-on=\"([^\"]*)\"", text) for wish in wishes.split()]


def page_templates() -> list[str]:
    return [path for path, text in templates().items() if "data-region-on" in text and "block rooms" in text]


@pytest.mark.parametrize("path", page_templates())
def test_the_rooms_of_a_page_bring_what_its_regions_wait_for(path: str) -> None:
    base, page = templates()["templates/base.html"], templates()[path]
    common = re.search(r"data-live-rooms=\"\{% block rooms %\}\{% endblock %\}([^\"]*)\"", base)
    own = re.search(r"block rooms %\}(.*)\{% endblock", page)
    assert common is not None
    assert own is not None or path.endswith("base.html")
    rooms = {*common[1].split(), *rooms_in(own[1] if own else "")}
    assert [room for room in rooms if not ROOM.fullmatch(room)] == []
    sent: list[str] = []
    relay = Coalescer(lambda event, _data, _room: sent.append(event), lambda room: room in rooms)
    for wish in wishes_of(page):
        sent.clear()
        if wish.startswith("changed:"):
            relay.take(f'{{"type":"changed","kind":"{wish.split(":")[1]}","id":"{ID}"}}'.encode())
            relay.flush()
            assert "changed" in sent, wish


ID = "01890a5d-ac96-774b-bcce-b302099a8057"


def rooms_in(block: str) -> list[str]:
    names = re.sub(r"\{\{.*?\}\}", ID, block)
    return re.sub(r"\{%.*?%\}", " ", names).split()


def test_each_room_can_be_sent_to() -> None:
    """A room that may be watched and in which nothing happens would look like a page that stands still."""
    rooms = set(re.findall(r"[a-z_]{3,}", ROOM.pattern.split("channel")[0]))
    reached: set[str] = set()
    relay = Coalescer(lambda _event, _data, room: reached.add(room), lambda _room: True)
    for kind in changed_kinds():
        relay.take(f'{{"type":"changed","kind":"{kind}","id":"{ID}"}}'.encode())
    relay.take(b'{"type":"heartbeat"}')
    relay.flush()
    assert {room.split(":")[0] for room in reached} >= rooms
