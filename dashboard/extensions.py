"""Flask's extensions, made once and bound to an application by the factory."""

from __future__ import annotations

from flask_login import LoginManager
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect

from workers.store.models import Base


class SessionLogin(LoginManager):  # type: ignore[misc]
    """Flask-Login without its remember cookie: nobody gets one here, and one that was made up must not be read."""

    def _load_user_from_remember_cookie(self, _cookie: str) -> None:
        return None


db = SQLAlchemy(metadata=Base.metadata)
login = SessionLogin()
csrf = CSRFProtect()
