"""Taskyard's one entrance: `python app.py` runs everything on this machine, `python app.py --help` tells the rest."""

from __future__ import annotations

import sys

if __name__ == "__main__" and sys.argv[1:2] == ["web"]:
    # Before anything else is imported: what was imported earlier would keep the blocking parts.
    from gevent import monkey

    monkey.patch_all()

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from workers.settings import Settings
    from workers.yard import Yard


def create_app(settings: Settings | None = None, yard: Yard | None = None) -> Flask:
    """Make the web application, for a WSGI server or for tests."""
    from dashboard.factory import create_app as make

    return make(settings, yard)


if __name__ == "__main__":
    from dashboard.commands import main

    raise SystemExit(main(sys.argv[1:]))
