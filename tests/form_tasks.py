"""Tasks with payloads of every kind, for the tests of forms."""

from __future__ import annotations

import enum
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from workers.task import Reject, task


class Speed(enum.Enum):
    """How fast a parcel travels."""

    SLOW = "slow"
    FAST = "fast"


class Address(BaseModel):
    """Where a parcel goes."""

    street: str
    city: str = "Berlin"
    zip: int = Field(ge=1000, le=99999, description="Five digits.")


class Line(BaseModel):
    """One position of an order."""

    sku: str
    quantity: int = Field(default=1, ge=1)
    tags: list[str] = []


class Tree(BaseModel):
    """A model that contains itself."""

    name: str
    children: list[Tree] = []


@task(name="forms.ship", secret=["access"])
def ship(
    address: Address,
    lines: list[Line],
    speed: Speed = Speed.SLOW,
    copies: Literal[1, 2, 3] = 1,
    ship_at: datetime | None = None,
    birthday: date | None = None,
    billing: Address | None = None,
    weight: float | None = None,
    price: Decimal | None = None,
    is_gift: bool = False,
    access: str = "",
    note: Annotated[str, Field(max_length=2000)] = "",
    extra: dict[str, Any] = {},  # noqa: B006
) -> None:
    """Ship an order. A note of "fail" makes it fail."""
    if note == "fail":
        raise Reject("The note is fail.")


@task(name="forms.hostile")
def hostile(
    tree: Tree | None = None,
    either: int | list[str] | dict[str, int] | None = None,
    huge: Annotated[str, Field(json_schema_extra={"enum": [f"v{n}" for n in range(5000)]})] = "v1",
    deep: list[list[list[list[list[list[int]]]]]] = [],  # noqa: B006
    marked: Annotated[str, Field(alias="<b>a.b</b> \"q\" 'x'", description="<script>alert(1)</script>")] = "",
) -> None:
    """Take what no form can show well. <img src=x onerror=alert(1)>"""
