"""What people read is plain product English: phrases that stand for a term which the field has are not used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import visible_text

Reader = Callable[[str], Iterator[visible_text.Found]]
ROOT = Path(__file__).parents[2]
# A phrase, as a regular expression, and what to write instead.
FORBIDDEN = {
    r"fires?|firings|(?:last|ever|never|has|have|not) fired": "run (of a schedule), trigger run",
    r"tries(?! to\b)|(?:on|old|this|the|no) try(?: …| \d|\b(?! again))|try (?:…|\d+)": "attempt",
    r"(?:is|are|be|was) tried again": "is retried",
    r"(?:put|puts|putting)(?: it| them| a job| jobs)? back": "reset; restore",
    r"call(?:s|ed)?(?: it)? off": "cancel",
    r"tells?|told": "report, send, print, show",
    r"it is on|switch(?:ed)? (?:it )?(?:on|off)|turn(?:ed)? (?:it |the .* )?(?:on|off)": "enabled, disabled",
    r"sign of life|(?:no|a) sign (?:for|since)|given? (?:no|a) sign": "heartbeat",
    r"time limits?": "timeout",
    r"present (?:password|job|secret)": "current …",
    r"cannot be had|to be had|there is none such|(?:cursor|one|none) of ours": "not available; not found; invalid",
    r"mend(?:s|ed)?|needs? care": "fix; failed",
    r"Taskyard's own (?:work|jobs?|queues?|tasks?)": "system jobs, system queue",
    r"by hand": "manual, manually",
    r"any more": "no longer",
    r"on the clocks of": "in the time zone of",
    r"look(?:s|ed)? after (?:it|them)|speaks? again|as it is now": "acknowledged; silence ended",
    r"(?:make|makes|made) (?:a|an|another|new) (?:token|rule|schedule|trigger|channel|job|secret)": "create",
    r"left as (?:they|it) (?:were|was)": "refused",
    r"behind (?:…|\d+) (?:s|min)": "Delayed 12 s",
    r"1 (?:jobs|runs|workers|queues|schedules|attempts|alerts)": "1 job: plurals.counted",
    r"(?:…|\d+) m(?: (?:…|\d+) s)?(?=[ ,.;:)]|$)": "min: durations.write_duration",
}
# A whole text, such as that of a button or of a head.
FORBIDDEN_WHOLE = {
    r"\w+ (?:it|them)": "a verb and its object: Delete job",
    r"(?:what|how|why|where)(?: [\w']+){1,6}\??": "a noun that names the thing",
    r"(?:make|made)(?: it| them| by| an? .*| new .*| another .*)?": "Create, Created",
    r"keep the .*": "Save …",
    r"go on": "Continue",
    r"behind|try": "Delayed; Attempt; Runs",
}
# Schemas and words of the API, whose names stay, and the vocabulary of secret keys.
NOT_SHOWN = {("dashboard/api", "Fires"), ("dashboard/api", "Firings")}
VOCABULARIES = {"workers/domain/secret_keys.py", "workers/domain/secret_shapes.py", "workers/domain/secret_text.py"}


def visible() -> Iterator[tuple[Path, int, str]]:
    """Yield every text that people see, with its file and line."""
    readers = (
        (("templates",), "*.*", visible_text.in_template),
        (("dashboard", "workers"), "*.py", visible_text.in_python),
        (("static/js",), "*.js", visible_text.in_javascript),
        (("docs",), "*.md", visible_text.in_markdown),
    )
    for folders, pattern, read in readers:
        for folder in folders:
            for file in sorted((ROOT / folder).rglob(pattern)):
                name = file.relative_to(ROOT)
                if "migrations" not in file.parts and str(name) not in VOCABULARIES:
                    shown = ((name, line, text) for line, text in read(file.read_text()))
                    yield from (one for one in shown if (str(name.parent), one[2]) not in NOT_SHOWN)


def find_phrases(text: str) -> list[tuple[str, str]]:
    """List the forbidden phrases of a text, each with what to write instead."""
    found = []
    for phrase, instead in FORBIDDEN.items():
        if match := re.search(rf"(?<![\w-])(?:{phrase})(?![\w-])", text, re.IGNORECASE):
            found.append((match.group(), instead))
    for phrase, instead in FORBIDDEN_WHOLE.items():
        if re.fullmatch(phrase, text.strip(" …"), re.IGNORECASE):
            found.append((text, instead))
            break
    return found


@pytest.mark.parametrize(
    ("read", "source", "line", "phrase"),
    [
        (visible_text.in_template, '<p>\n<b title="Its life">{{ n }} tries</b>', 2, "tries"),
        (visible_text.in_template, '{% if a %}\n{{ ui.post("/x", "Make them") }}{% endif %}', 2, "Make them"),
        (visible_text.in_template, '<button>{{ icon("plus") }}Keep the rule</button>', 1, "Keep the rule"),
        (visible_text.in_python, '"""It fires."""\n\nraise X(f"{name} has not fired {n} times")', 3, "not fired"),
        (visible_text.in_python, 'WORDS = {"fires": f"{minutes} m"}', 1, "… m"),
        (visible_text.in_python, '@task(queue="mails")\ndef send():\n    """It fires."""', 3, "fires"),
        (visible_text.in_javascript, "// it fires\nsay(`waited ${job.told} m 10 s`);", 2, "… m 10 s"),
        (visible_text.in_markdown, "`fires` is a name\nA schedule fires.", 2, "fires"),
    ],
)
def test_a_forbidden_phrase_is_found(read: Reader, source: str, line: int, phrase: str) -> None:
    found = [(number, one) for number, text in read(source) for one, _ in find_phrases(text)]
    assert [(number, one.strip("…")) for number, one in found] == [(line, phrase.strip("…"))]


def test_no_forbidden_phrase_is_shown() -> None:
    wrong = [
        f"{file}:{line}: {phrase!r}: write {instead!r}"
        for file, line, text in visible()
        for phrase, instead in find_phrases(text)
    ]
    assert wrong == []
