"""What processes say: one line an event, with a short label of the process that says it."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from workers.settings import Settings

_LABEL_WIDTH = 9


def configure(settings: Settings, label: str) -> None:
    """Send this process's log to the standard error, as LOG_FORMAT and LOG_LEVEL ask."""
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
        lines = f"{at} {self._label:<{_LABEL_WIDTH}} {grave}{record.getMessage()}"
        return f"{lines}\n{self.formatException(record.exc_info)}" if record.exc_info else lines


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
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
