"""How an attempt ends: what a task returned or raised, as the values that are written to its row."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from workers import registry
from workers.domain.errors import BadInput
from workers.domain.masking import LONGEST_TEXT, mask_result
from workers.domain.payloads import load
from workers.domain.retrying import retry_seconds
from workers.domain.texts import describe_error, format_error, is_of, read_safely, safe_repr, safe_text, traceback_of
from workers.running import RunningJob
from workers.services import files
from workers.services.execution import Ending
from workers.services.results import StoredResult, serialize_result
from workers.task_errors import Canceled, Fenced, Interrupted, Reject, Retry, Skipped

MAX_RESULT_FILE_BYTES = 100_000_000
_OVERLAP = 1_000  # characters in which the windows of a long text overlap, so that no credential lies on a border
MAX_ERROR = 65_536  # characters
_OWN_FILES = (str(Path(__file__).with_name("child.py")), registry.__file__)


def ending_of_result(job: RunningJob, value: object) -> Ending:
    """Return the ending of an attempt whose task returned; never a failure. What was changed is noted in the job's log."""
    if is_of(value, Skipped):
        return Ending("skipped", error=safe_text(read_safely(value, "reason")))
    stored = serialize_result(value, (Canceled, Fenced, Interrupted))
    if stored.note:
        job.add_text(f"{stored.note} {_write_whole(job, stored)}".rstrip(), "warning")
    return Ending("completed", result=stored.text)


def ending_of_error(error: BaseException) -> Ending:
    """Return the ending of an attempt whose task raised. Nothing that the exception's own code does can prevent it."""
    if is_of(error, (Canceled, Fenced)):
        return Ending("canceled", error="Canceled while running")
    if is_of(error, Interrupted):
        return Ending("interrupted", error="The worker was stopped while the job was running")
    if is_of(error, Skipped):
        return Ending("skipped", error=safe_text(read_safely(error, "reason")))
    trace = _traceback(error)
    if is_of(error, SystemExit):
        code = safe_repr(read_safely(error, "code"), 200)
        return Ending("failed", error=f"The task called sys.exit({code})", traceback=trace)
    if is_of(error, Retry):
        seconds = retry_seconds(read_safely(error, "after"))
        return Ending("failed", error=f"Retry: {safe_text(error)}", traceback=trace, retry_after_seconds=seconds)
    is_permanent = is_of(error, (Reject, BadInput))
    return Ending("failed", error=describe_error(error, MAX_ERROR), traceback=trace, permanent=is_permanent)


def _write_whole(job: RunningJob, stored: StoredResult) -> str:
    """Write a large result into a file of the job; a sentence about it."""
    if not stored.whole:
        return ""
    data, name = stored.whole.encode(), f"result-{job.attempt}.json"
    if len(data) > MAX_RESULT_FILE_BYTES:
        return "The rest was not stored: a result file has at most 100 MB."
    if _holds_secrets(job, stored.whole):
        return "The rest was not stored: it contains masked values."
    try:
        files.write_file(job.files, name, data)
    except OSError as error:
        return f"The rest was not stored: {error.strerror}."
    return f"The full result is in the file {name}."


def _holds_secrets(job: RunningJob, text: str) -> bool:
    definition = registry.find_task(job.row["task"])
    if definition is not None and definition.secret:
        value = load(text)
        if mask_result(value, definition.secret) != value:
            return True
    step = LONGEST_TEXT - _OVERLAP
    windows = (text[start : start + LONGEST_TEXT] for start in range(0, len(text), step))
    return any(job.masker.text(window) != window for window in windows)


def _traceback(error: BaseException) -> str:
    trace: TracebackType | None = traceback_of(error)
    # The way from here to the task's own code says nothing about the failure.
    while trace is not None and trace.tb_next is not None and trace.tb_frame.f_code.co_filename in _OWN_FILES:
        trace = trace.tb_next
    return format_error(error, trace)
