"""Makes the web application."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, g
from flask_login import current_user
from werkzeug.middleware.proxy_fix import ProxyFix

from dashboard import (
    auth,
    body_limits,
    compression,
    confirmation,
    context,
    converters,
    problems,
    rendering,
    request_input,
    routes,
    security,
    shared_regions,
    static_files,
    watchman,
    zones,
)
from dashboard.api import contract
from dashboard.cookies import SessionCookies, session_cookie_name
from dashboard.extensions import db
from dashboard.hashing import HashingPool
from dashboard.live import init_live
from dashboard.pages.bulk_actions import running_actions
from dashboard.presenters import words
from dashboard.rendering import later
from dashboard.request_check import RequestCheck
from dashboard.streaming import Streams
from dashboard.threads import run_in_thread
from dashboard.web_database import web_engine_options
from workers.broker.connection import connect_impatiently
from workers.domain.computing import set_runner
from workers.domain.states import Status
from workers.services import own_changes, sessions
from workers.services.throttling import Throttle
from workers.settings import Settings
from workers.store.database import Database
from workers.yard import Yard

ROOT = Path(__file__).resolve().parent.parent


def create_app(settings: Settings | None = None, yard: Yard | None = None) -> Flask:
    """Make the application; the settings come from the environment unless given. Raises SettingsError."""
    settings = settings or (yard.settings if yard else Settings.from_env())
    app = Flask("taskyard", template_folder=str(ROOT / "templates"), static_folder=None)
    _configure(app, settings)
    db.init_app(app)
    with app.app_context():
        app.extensions["yard"] = yard or Yard.open(settings, Database(db.engine))
        own_changes.watch(app.extensions["yard"].database)
    app.extensions["throttle"] = Throttle(connect_impatiently(settings), app.extensions["yard"].redis.names)
    app.extensions["hashing"] = HashingPool()
    app.extensions["streams"] = Streams()
    set_runner(run_in_thread)
    request_input.init(app)
    converters.init(app)
    body_limits.init(app)
    context.init(app)
    auth.init(app)
    security.init(app)
    compression.init(app)
    shared_regions.init(app)
    rendering.init(app)
    contract.init(app)
    problems.init(app)
    confirmation.init(app)
    words.init(app.jinja_env)
    zones.init(app)
    app.jinja_env.finalize = words.finalize
    _add_globals(app)
    routes.register(app)
    static_files.init(app, ROOT / "static")
    init_live(app)
    app.extensions["live"].on_change = app.extensions["shared_regions"].note_change
    watchman.init(app)
    app.wsgi_app = RequestCheck(app.wsgi_app)  # type: ignore[method-assign]
    if settings.trusted_proxies:
        # Around live connections too, so that they see the client's address and origin. What the proxy forwards as the host
        # and scheme is checked like what it sends itself.
        n = settings.trusted_proxies
        forwarded = ProxyFix(app.wsgi_app, x_for=n, x_proto=n, x_host=n)
        app.wsgi_app = RequestCheck(forwarded)  # type: ignore[method-assign]
    return app


def _configure(app: Flask, settings: Settings) -> None:
    app.session_interface = SessionCookies(settings.port)
    app.config.update(
        SECRET_KEY=settings.secret_key or _kept_secret(settings),
        SQLALCHEMY_DATABASE_URI=settings.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=web_engine_options(settings.database_url),
        SESSION_COOKIE_NAME=session_cookie_name(settings.port, is_secure=settings.trusted_proxies > 0),
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.trusted_proxies > 0,
        REMEMBER_COOKIE_NAME=f"taskyard_{settings.port}_unused",  # Flask-Login would prefer such a cookie to a token
        PERMANENT_SESSION_LIFETIME=sessions.LONGEST,
        WTF_CSRF_CHECK_DEFAULT=False,  # the guard in `security` checks it, for people and not for tokens
        WTF_CSRF_TIME_LIMIT=None,
        MAX_FORM_MEMORY_SIZE=2_000_000,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def _kept_secret(settings: Settings) -> str:
    from workers.processes.home import settle

    return settle(settings).secret_key


def _add_globals(app: Flask) -> None:
    def values() -> dict[str, Any]:
        signed_in = current_user.is_authenticated
        return {
            "asset": static_files.asset,
            "can": lambda role: signed_in and current_user.actor.may(role),
            "stuck_jobs": context.stuck_jobs,
            "nav_counts": later(context.nav_counts) if signed_in else {},
            "live_mark": g.get("live_mark", ""),
            "nav_alerts": later(context.alert_counts) if signed_in else {},
            "running_actions": running_actions,
            "monitor_silent": app.extensions["watchman"].silent_seconds,
            "redis_trouble": app.extensions["redis_watch"].trouble,
            "state_names": [str(status) for status in Status],
        }

    app.context_processor(values)
