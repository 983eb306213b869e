"""What the first request of each kind would otherwise wait for, done in small steps once the server answers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import gevent
from flask import Flask

from dashboard.api.openapi import document

PAUSE_SECONDS = 0.01


def start(app: Flask) -> Any:
    """Compile every template and write the API's document, in the background."""
    return gevent.spawn(_run, app)


def _run(app: Flask) -> None:
    with suppress(OSError):  # no file can be opened now; the first requests do it themselves
        _prepare(app)


def _prepare(app: Flask) -> None:
    for name in app.jinja_env.list_templates(extensions=["html"]):
        gevent.sleep(PAUSE_SECONDS)
        app.jinja_env.get_template(name)
    with app.app_context():
        document(app)
