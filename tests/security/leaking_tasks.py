"""Tasks that tell their secrets in every way that a task can."""

from __future__ import annotations

import logging
import sys
from typing import Any

from workers.task import Skipped, emit, log, progress, publish, step, task


def _tell_everything(api_key: str, phrase: str, note: str, dsn: str, headers: list[dict[str, str]]) -> None:
    log(f"using {api_key} and {phrase}")
    log(f"note: {note}\nsecond line {dsn}", "warning")
    log(f"headers {headers}")
    sys.stdout.write(f"printed {api_key} {dsn}\n")
    sys.stderr.write(f"printed {phrase}\n")
    logging.getLogger("leak").error("logged %s %s", api_key, note)
    step(f"step with {api_key}")
    progress(1, 2, f"message with {phrase} and {note}")
    publish("news", "told", {"api_key": api_key, "text": f"said {phrase}", "headers": headers})
    emit("leak.told", {"api_key": api_key, "phrase": phrase, "dsn": dsn, "note": note})


@task(max_retries=0, secret=("phrase",))
def fails(api_key: str, phrase: str, note: str, dsn: str, headers: list[dict[str, str]]) -> None:
    """Tell everything, then fail with all of it."""
    _tell_everything(api_key, phrase, note, dsn, headers)
    raise ValueError(f"bad key {api_key}, bad phrase {phrase!r}, {note}, {dsn}, {headers}")


@task(max_retries=0, secret=("phrase",))
def completes(api_key: str, phrase: str, note: str, dsn: str, headers: list[dict[str, str]]) -> dict[str, Any]:
    """Tell everything, then return the declared field and shapes of credentials beside plain data."""
    _tell_everything(api_key, phrase, note, dsn, headers)
    return {"phrase": phrase, "rows": [{"phrase": phrase, "dsn": dsn}], "note": note, "nTokens": 512, "pin": "1234"}


@task(max_retries=0, secret=("phrase",))
def skips(api_key: str, phrase: str, note: str, dsn: str, headers: list[dict[str, str]]) -> Skipped:
    """Skip with a reason that tells."""
    return Skipped(f"nothing for {api_key}, {phrase}, {note}, {dsn}, {headers}")


@task(max_retries=0)
def unruly(text: str) -> None:
    """Write text that would forge lines, steer a terminal and reverse a page, in every way that a task can."""
    log(text)
    sys.stdout.write(f"{text}\n")
    logging.getLogger("unruly").warning("%s", text)
    step(text)
    progress(1, 2, text)
    raise ValueError(text)
