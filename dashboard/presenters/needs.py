"""What needs somebody on the first screen: open alerts and what no rule has found yet, the most severe first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from dashboard.presenters.alerts import SEVERITY_ICONS
from dashboard.presenters.queues import QueueRow
from dashboard.presenters.words import percent
from workers.domain.alarms import ACKNOWLEDGED, FIRING, SEVERITIES, SILENCED
from workers.domain.plurals import counted, plural
from workers.services.statistics import Minute
from workers.store.types import Row

FAILED_PERCENT = 1.0  # from this share of failed jobs on not all is clear
CRITICAL_PERCENT = 50.0
FIRST, MOST = 6, 50  # what is shown at once, and after "more"


@dataclass(frozen=True, slots=True)
class Need:
    """One problem: its cause is a page, its remedy an action that an operator can take at once."""

    severity: str
    icon: str
    what: str
    why: str
    since: datetime | None
    cause: str
    label: str  # of the link to its page
    alert_id: str = ""
    remedy: str = ""  # the address that the action is sent to
    remedy_label: str = ""
    remedy_icon: str = "play"

    @property
    def page(self) -> str:
        """Where more is to be read of it: the alert, else the cause."""
        return f"/alerts/{self.alert_id}" if self.alert_id else self.cause

    @property
    def id(self) -> str:
        """What the row is known by while the list changes."""
        page = self.cause.partition("?")[0].replace("/", "-")
        return f"need-{self.alert_id or self.severity + page}"


@dataclass(frozen=True, slots=True)
class Signs:
    """What is known of the installation beside queues, alerts and numbers."""

    stuck: int = 0
    stuck_since: datetime | None = None
    lost: int = 0
    lost_since: datetime | None = None
    monitor_silent_since: datetime | None = None
    redis_trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Ended:
    """What ended in the last hour, without Taskyard's own jobs."""

    completed: int
    failed: int

    @classmethod
    def of(cls, hour: Sequence[Minute]) -> Ended:
        """Add the minutes up."""
        return cls(sum(one.completed for one in hour), sum(one.failed for one in hour))

    @property
    def total(self) -> int:
        """How many jobs ended."""
        return self.completed + self.failed

    @property
    def failed_percent(self) -> float:
        """The share that failed, in percent."""
        return 100 * self.failed / self.total if self.total else 0.0


def find_needs(rows: Sequence[QueueRow], signs: Signs, alarms: Sequence[Row], ended: Ended) -> list[Need]:
    """Find every problem, the most severe first, and of those the one that has lasted longest.

    An alert that somebody has acknowledged or silenced is no problem, and what it is about is not found again.
    """
    kinds = {row["kind"] for row in alarms}
    links = {row["link"] for row in alarms}
    found = [
        *map(_of_alert, (row for row in alarms if row["status"] == FIRING)),
        *_of_monitor(signs, kinds),
        *_of_redis(signs),
        *_of_failures(ended, kinds),
        *_of_stuck(signs),
        *_of_lost(signs),
        *_of_queues(rows, links),
    ]
    return sorted(found, key=_rank)


def _rank(need: Need) -> tuple[int, bool, float]:
    since = need.since
    return SEVERITIES.index(need.severity), since is None, since.timestamp() if since else 0.0


def write_sentence(found: Sequence[Need], ended: Ended, counts: Mapping[str, int]) -> tuple[str, str]:
    """Write how things are: the sentence, and the numbers beside it; `counts` are the open alerts of each status."""
    known = [counted(counts[status], f"{status} alert") for status in (ACKNOWLEDGED, SILENCED) if counts.get(status)]
    rest = "No jobs ended in the last hour."
    if ended.total:
        rest = f"{counted(ended.total, 'job')} ended in the last hour, {percent(ended.failed_percent)} failed."
    if known:
        rest = f"{rest} {' and '.join(known)}."
    if found:
        return f"{counted(len(found), 'problem')} {plural(len(found), 'needs', 'need')} attention.", rest
    return "No new problems." if known else "All clear.", rest


def _of_alert(row: Row) -> Need:
    icon = SEVERITY_ICONS[row["severity"]]
    cause = row["link"] or f"/alerts/{row['id']}"
    words = (row["title"], row["detail"], row["first_at"])
    return Need(row["severity"], icon, *words, cause, "Open alert", alert_id=row["id"])


def _of_monitor(signs: Signs, kinds: set[str]) -> Iterable[Need]:
    if signs.monitor_silent_since and "monitor_silent" not in kinds:
        why = "stuck jobs are not reset and alerts are not evaluated"
        yield Need(
            "critical",
            "warning",
            "The monitor is not running",
            why,
            signs.monitor_silent_since,
            "/stuck",
            "Open monitor",
        )


def _of_redis(signs: Signs) -> Iterable[Need]:
    if signs.redis_trouble:
        yield Need("critical", "unplug", "Redis is not available", signs.redis_trouble, None, "/health", "Open health")


def _of_failures(ended: Ended, kinds: set[str]) -> Iterable[Need]:
    share = ended.failed_percent
    if share < FAILED_PERCENT or kinds & {"failed", "failure_rate"}:
        return
    severity = "critical" if share >= CRITICAL_PERCENT else "warning"
    what = f"{percent(share)} of jobs failed in the last hour"
    why = f"{ended.failed:,} of {counted(ended.total, 'job')}"
    yield Need(severity, "cross", what, why, None, "/jobs?status=failed&since=1h", "Open failed jobs")


def _of_stuck(signs: Signs) -> Iterable[Need]:
    if signs.stuck:
        what = f"{counted(signs.stuck, 'job')} {plural(signs.stuck, 'is', 'are')} stuck"
        why = "no heartbeat; the next sweep resets or fails " + plural(signs.stuck, "it", "them")
        yield Need(
            "warning",
            "warning",
            what,
            why,
            signs.stuck_since,
            "/stuck",
            "Open stuck jobs",
            remedy="/stuck/sweeps",
            remedy_label="Sweep now",
        )


def _of_lost(signs: Signs) -> Iterable[Need]:
    if signs.lost:
        what = f"{counted(signs.lost, 'worker')} {plural(signs.lost, 'is', 'are')} lost"
        why = f"no heartbeat; {plural(signs.lost, 'its job is', 'their jobs are')} reset by the monitor"
        yield Need("warning", "unplug", what, why, signs.lost_since, "/workers", "Open workers")


def _of_queues(rows: Sequence[QueueRow], links: set[str]) -> Iterable[Need]:
    for row in rows:
        page = f"/queues/{row.name}"
        if row.has_no_worker and page not in links:
            why = f"{counted(row.waiting, 'job')} waiting"
            what = f"No worker listens to {row.name}"
            yield Need("critical", "unplug", what, why, row.oldest_at, page, "Open queue")
        if row.paused_at is not None and row.waiting:
            why = f"by {row.paused_by}, {counted(row.waiting, 'job')} waiting"
            what = f"{row.name} is paused"
            remedy = {"remedy": f"{page}/resumes", "remedy_label": "Resume queue"}
            yield Need("info", "pause", what, why, row.paused_at, page, "Open queue", **remedy)
