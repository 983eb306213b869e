"""Calls to other systems."""

from __future__ import annotations

import json
import re
import time
from typing import Annotated, Any, Literal

import httpx
from pydantic import Field

from workers.broker import outgoing
from workers.domain.masking import mask
from workers.task import Reject, Retry, current_settings, log, task

KEPT_BYTES = 500_000
# However long the other side asks us to wait.
LONGEST_WAIT_SECONDS = 86_400.0


@task(queue="default", max_retries=3)
def request(
    url: Annotated[
        str,
        Field(
            min_length=8,
            max_length=2000,
            description="The address to call: http or https.",
            json_schema_extra={"format": "taskyard-url"},
        ),
    ],
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] = "GET",
    headers: Annotated[dict[str, str] | None, Field(json_schema_extra={"format": "taskyard-http-headers"})] = None,
    body: Any = None,
    timeout_seconds: Annotated[float, Field(gt=0, le=600, description="Timeout in seconds.")] = 30.0,
    expect_status: Annotated[
        int, Field(ge=0, le=599, description="The status that counts as success; 0 = any 2xx.")
    ] = 0,
) -> dict[str, Any]:
    """Call any webhook or API; server errors and timeouts are retried, client errors are not."""
    sent = dict(headers or {})
    content = None
    if body is not None:
        content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        sent.setdefault("Content-Type", "text/plain" if isinstance(body, str) else "application/json")
    start = time.monotonic()
    settings = current_settings()
    with outgoing.stream(
        method,
        url,
        allow_private=settings.allow_private_http,
        timeout_seconds=timeout_seconds,
        headers=sent,
        content=content,
    ) as answer:
        raw, is_cut = outgoing.read_bounded(answer, KEPT_BYTES)
    elapsed = time.monotonic() - start
    log(f"{method} answered {answer.status_code} after {elapsed:.2f} s")
    _judge(answer, expect_status)
    return {
        "status": answer.status_code,
        "headers": mask(dict(list(answer.headers.items())[:50])),
        "body": _body(answer, raw),
        "body_is_cut": is_cut,
        "elapsed_seconds": round(elapsed, 3),
    }


def _judge(answer: httpx.Response, expected: int) -> None:
    status = answer.status_code
    if status == expected or (not expected and 200 <= status < 300):
        return
    if status in {408, 429}:
        after = answer.headers.get("retry-after", "")
        seconds = min(float(after), LONGEST_WAIT_SECONDS) if re.fullmatch("[0-9]+", after) else None
        raise Retry(f"the server answered {status}", after=seconds)
    if 400 <= status < 500:
        raise Reject(f"The server answered {status}; a retry would not help.")
    raise RuntimeError(f"The server answered {status}.")


def _body(answer: httpx.Response, raw: bytes) -> Any:
    text = raw.decode(answer.encoding or "utf-8", errors="replace")
    if "json" in answer.headers.get("content-type", ""):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text
