"""What Taskyard's own processes log: one readable line, or one JSON object, for each event."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from workers.settings import Settings


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(settings: Settings) -> None:
    """Send the log to stderr in the form that the settings ask for."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)-18s %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else plain)
    logging.root.handlers[:] = [handler]
    logging.root.setLevel(settings.log_level.upper())
    for chatty in ("alembic", "rq.worker", "httpx", "geventwebsocket", "engineio", "socketio", "werkzeug"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
