"""Text that comes from jobs and strangers, made harmless for terminals, log files and pages.

Control characters could steer a terminal or forge a line, bidirectional controls could reverse what is read, characters
without width could hide in a name. Colours of a terminal are removed; everything else is shown as an escape, so that
nothing that was there is lost from sight.
"""

from __future__ import annotations

import json
import re
from typing import Any

from workers.domain.errors import BadInput
from workers.domain.texts import check_text

# Sequences that colour text or steer a terminal: CSI, OSC with its text, and the short ones.
TERMINAL_SEQUENCE = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]{0,2000}(?:\x07|\x1b\\|\x9c)?|\x1b[()#%][ -~]|\x1b[=>78cDEHMNOZ]"
)
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Joiners are letters of Persian, Hindi and of emoji; beside ASCII they only hide.
_WIDTHLESS = r"\u00ad\u180e\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f|(?<![^\x00-\x7f])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f])"
_UNSEEN = rf"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029{_BIDI}" + _WIDTHLESS.replace("|", "]|", 1)
_IN_TEXT = re.compile(_UNSEEN + r"|\r(?!\n)")
_IN_LINE = re.compile(_UNSEEN + r"|[\t\n\r]")
_BREAKS = re.compile(r"\r\n|[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def visible(text: str) -> str:
    """Return text of several lines with everything that is not to be seen removed (colours) or shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return _IN_TEXT.sub(_escape, TERMINAL_SEQUENCE.sub("", text))


def visible_line(text: str) -> str:
    """Return text as one line: line breaks and tabs are shown as escapes too."""
    if text.isascii() and text.isprintable():
        return text
    return _IN_LINE.sub(_escape, TERMINAL_SEQUENCE.sub("", text))


def lines_of(text: str) -> list[str]:
    """Split text at whatever a reader may take for the end of a line; one empty line for no text."""
    return _BREAKS.split(text[:-1] if text.endswith("\n") else text)


def visible_json(value: Any, **options: Any) -> str:
    """Write a value as JSON in which nothing is unseen: the escapes are those of JSON, so it reads back the same."""
    text = json.dumps(value, ensure_ascii=False, default=str, **options)
    return text if text.isascii() and "\x7f" not in text else _IN_TEXT.sub(_json_escape, text)


def check_label(text: str, longest: int, field: str = "name", words: str = "A name") -> str:
    """Return a name that people gave, without the spaces around it. Raises BadInput when it is empty, long or unseen."""
    label = check_text(text, field).strip()
    if not 1 <= len(label) <= longest:
        raise BadInput(f"{words} has 1 to {longest} characters.", field=field)
    hidden = _IN_LINE.search(label)
    if hidden:
        raise BadInput(
            f"{words} cannot hold the character {_escape(hidden)}, which is invisible. Remove it.", field=field
        )
    return label


def _escape(found: re.Match[str]) -> str:
    letter = found[0]
    code = ord(letter)
    if letter in _SHORT:
        return _SHORT[letter]
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else json.dumps(found[0])[1:-1]
