"""What a task raises to say how its attempt ends, and what is raised in it when it has to end."""

from __future__ import annotations

from datetime import timedelta


class Reject(Exception):
    """The job cannot succeed however often it is tried: it fails at once."""


class Retry(Exception):
    """Try again after a time, if attempts are left: seconds, as a number or text, or a timedelta; a year at most."""

    def __init__(self, message: str = "retry requested", after: float | str | timedelta | None = None) -> None:
        super().__init__(message)
        self.after = after


class Skipped(Exception):
    """There was nothing to do; raised or returned, with the reason."""

    def __init__(self, reason: str = "nothing to do") -> None:
        super().__init__(reason)
        self.reason = reason


class Canceled(BaseException):
    """Somebody canceled this job; raised in the task by `check_canceled` and `progress`, not caught by `except Exception`."""


class Interrupted(BaseException):
    """The worker ends now; raised in the task at the end of SHUTDOWN_SECONDS, not caught by `except Exception`.

    An attempt that lets it through is run again and has used no retry.
    """


class TimeLimitReached(BaseException):
    """The job has reached its time limit; raised in the task, not caught by `except Exception`.

    The process is killed a few seconds later.
    """


class Fenced(BaseException):
    """This attempt was reset or ended from outside; nothing that it does counts any more."""
