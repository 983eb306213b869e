"""What processes say: one line an event, with a short label of the process that says it."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from textwrap import indent

from workers.domain.masking import JobMasker
from workers.domain.untrusted import visible, visible_json, visible_line
from workers.settings import Settings

_LABEL_WIDTH = 9


def configure(settings: Settings, label: str) -> None:
    """Send this process's log to the standard error, as LOG_FORMAT and LOG_LEVEL ask."""
    _OWN.know(settings)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines(label) if settings.log_format == "json" else _TextLines(label))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.log_level.upper())
    for chatty in ("rq", "rq.worker", "rq_scheduler", "alembic", "httpx", "httpcore"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


class _TextLines(logging.Formatter):
    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone().strftime("%H:%M:%S")
        grave = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        lines = f"{at} {self._label:<{_LABEL_WIDTH}} {grave}{visible_line(_message(record))}"
        # Indented, so that no line of what failed can pass for an entry of its own.
        return f"{lines}\n{indent(_trace(self, record), '    ', _always)}" if record.exc_info else lines


class _JsonLines(logging.Formatter):
    def __init__(self, label: str) -> None:
        super().__init__()
        self._label = label

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._label,
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info:
            line["traceback"] = _trace(self, record)
        return visible_json(line)


def _message(record: logging.LogRecord) -> str:
    return _OWN.text(record.getMessage())


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    return visible(_OWN.text(formatter.formatException(record.exc_info))) if record.exc_info else ""


def _always(_line: str) -> bool:
    return True


class _OwnSecrets:
    """The secrets that this process knows from its settings, masked in whatever it says."""

    def __init__(self) -> None:
        self._masker = JobMasker(None)

    def know(self, settings: Settings) -> None:
        named = {name: getattr(settings, name, None) for name in settings.__dataclass_fields__}
        self._masker = JobMasker(
            {name: value for name, value in named.items() if isinstance(value, str | list | tuple)}
        )

    def text(self, text: str) -> str:
        return self._masker.text(text)


_OWN = _OwnSecrets()
