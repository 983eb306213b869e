"""The table of task modules: what each host could import of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Float, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from workers.store.models import Base


class TaskModule(Base):
    """A module of TASK_MODULES as one host imported it last."""

    __tablename__ = "task_modules"

    host: Mapped[str] = mapped_column(String(255), primary_key=True)
    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    tasks: Mapped[str] = mapped_column(Text, server_default="[]")  # JSON list of the names of its tasks
    error: Mapped[str | None]  # null: it was imported
    file: Mapped[str | None]
    line: Mapped[int | None] = mapped_column(Integer)
    seconds: Mapped[float] = mapped_column(Float, default=0.0)  # how long the import took
    imported_at: Mapped[datetime]
