"""Column types that behave the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator

from workers.domain.ansi import mask_colored, strip_colors
from workers.domain.masking import mask_text
from workers.domain.untrusted import visible

# A row by the names of its columns, from SQLAlchemy or from the driver.
Row = Mapping[Any, Any]

# SQLite numbers rows by itself only in a column called INTEGER.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in UTC, to the microsecond; a naive one is refused."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Check and write."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without zone cannot be stored")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read, aware."""
        if value is None:
            return None
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class MaskedText(TypeDecorator[str]):
    """What jobs say of themselves: secrets in it are masked and nothing in it is unseen, in rows of earlier versions too."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Mask and write."""
        return None if value is None else visible(mask_text(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Read and mask."""
        return None if value is None else visible(mask_text(value))

    def coerce_compared_value(self, op: Any, value: Any) -> Any:
        """Compare with plain text: the words of a search are not masked."""
        return self.impl_instance


class LogText(MaskedText):
    """A line of a log: as `MaskedText`, written with its colors and read without them."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Mask and write."""
        return None if value is None else mask_colored(value, mask_text)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Read and mask."""
        return None if value is None else visible(mask_text(strip_colors(value)))


class ColoredLogText(LogText):
    """A line of a log, read with its colors, for `workers.domain.ansi.parse_runs`."""

    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """Read and mask."""
        return None if value is None else mask_colored(value, mask_text)
