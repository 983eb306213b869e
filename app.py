"""Taskyard's one command: everything on this machine, or one part of it. `python app.py --help` lists them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(*args: Any, **options: Any) -> Flask:
    """Make the web application; see `dashboard.factory.create_app`."""
    from dashboard.factory import create_app as create

    return create(*args, **options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["web"]:
        # The web's sockets and locks must be gevent's before anything else is imported.
        from gevent import monkey

        monkey.patch_all()

    from workers.commands import main

    sys.exit(main(sys.argv[1:], Path(__file__).resolve()))
