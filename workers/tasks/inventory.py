"""Stock of a supplier, kept in step with what they tell."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field

from workers.broker import outgoing
from workers.domain.clock import rfc3339, utcnow
from workers.task import Reject, Skipped, current_settings, get_setting, log, progress, set_setting, task

MOST_BYTES = 5_000_000
MOST_ITEMS = 10_000
_ITEMS, _TIME = "inventory.items", "inventory.last_sync_time"


@task(queue="default", max_retries=3, timeout_seconds=300)
def sync(
    url: Annotated[
        str,
        Field(
            max_length=2000,
            description='Answers JSON: [{"sku": "…", "quantity": 3}, …].',
            json_schema_extra={"format": "taskyard-url"},
        ),
    ] = "",
) -> dict[str, Any]:
    """Fetch a supplier's stock and store the changes; skips when no source is set or nothing has changed."""
    if not url:
        raise Skipped("no source: set the supplier's URL in the payload")
    known: dict[str, int] = get_setting(_ITEMS, {})
    items, errors = {}, []
    told = _fetch(url)
    for done, one in enumerate(told):
        progress(done, len(told))
        try:
            items[str(one["sku"])[:100]] = int(one["quantity"])
        except (KeyError, TypeError, ValueError) as error:
            errors.append({"record": done, "error": f"{type(error).__name__}: {error}"[:200]})
    changed = [sku for sku, quantity in items.items() if known.get(sku) != quantity]
    set_setting(_TIME, rfc3339(utcnow()))
    for wrong in errors[:20]:
        log(f"record {wrong['record']}: {wrong['error']}", "warning")
    if not changed and not errors:
        raise Skipped(f"none of {len(items):,} items has changed")
    set_setting(_ITEMS, {**known, **items})
    return {"read": len(told), "changed": len(changed), "errors": errors[:100]}


def _fetch(url: str) -> list[Any]:
    private = current_settings().allow_private_http
    with outgoing.stream("GET", url, allow_private=private, timeout_seconds=60) as answer:
        raw, is_cut = outgoing.read_bounded(answer, MOST_BYTES)
    if answer.status_code >= 500:
        raise RuntimeError(f"The supplier answered {answer.status_code}.")
    if answer.status_code >= 400 or is_cut:
        raise Reject(
            f"The supplier answered {answer.status_code}{' with a response that is too large' if is_cut else ''}."
        )
    try:
        told = json.loads(raw)
    except ValueError as error:
        raise Reject(f"The supplier's answer is not JSON: {error}") from error
    if not isinstance(told, list) or len(told) > MOST_ITEMS:
        raise Reject(f"The supplier's answer must be a list of at most {MOST_ITEMS:,} items.")
    return told
