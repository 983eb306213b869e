"""Triggers that keep `job_counts`, `job_minutes` and `job_histograms` true, whoever changes a row of `jobs`.

Counting rows on every look at a page is what makes other dashboards slow; a counter kept in the same transaction is
exact and costs microseconds. On PostgreSQL each connection adds to a slot of its own, so that workers do not queue up
behind one counter row; on SQLite there is one writer anyway.
"""

from __future__ import annotations

from sqlalchemy import Connection

from workers.domain.histograms import sql_bucket

_COUNT = """INSERT INTO job_counts (queue, status, slot, n) VALUES ({row}.queue, {row}.status, {slot}, {n})
  ON CONFLICT (queue, status, slot) DO UPDATE SET n = job_counts.n + ({n})"""

_MINUTE = """INSERT INTO job_minutes (minute, queue, task, slot, completed, failed, retried, canceled, run_ms, wait_ms)
  VALUES ({minute}, NEW.queue, NEW.task, {slot},
    CASE WHEN NEW.status = 'completed' THEN 1 ELSE 0 END, CASE WHEN NEW.status = 'failed' THEN 1 ELSE 0 END,
    CASE WHEN NEW.status = 'retry_scheduled' THEN 1 ELSE 0 END, CASE WHEN NEW.status = 'canceled' THEN 1 ELSE 0 END,
    COALESCE(NEW.run_ms, 0), COALESCE(NEW.wait_ms, 0))
  ON CONFLICT (minute, queue, task, slot) DO UPDATE SET
    completed = job_minutes.completed + excluded.completed, failed = job_minutes.failed + excluded.failed,
    retried = job_minutes.retried + excluded.retried, canceled = job_minutes.canceled + excluded.canceled,
    run_ms = job_minutes.run_ms + excluded.run_ms, wait_ms = job_minutes.wait_ms + excluded.wait_ms"""

_SQLITE_MINUTE = "CAST(strftime('%s', NEW.updated_at) AS INTEGER) / 60"
_POSTGRESQL_MINUTE = "(floor(extract(epoch FROM NEW.updated_at) / 60))::int"
# Histograms have their first minute of five: a percentile of one minute says little, and a day is read in a fifth of the rows.
_SQLITE_FIVE = "CAST(strftime('%s', NEW.updated_at) AS INTEGER) / 300 * 5"
_POSTGRESQL_FIVE = "(floor(extract(epoch FROM NEW.updated_at) / 300))::int * 5"
_POSTGRESQL_SLOT = "pg_backend_pid() % 16"
# A canceled retry that is restored waits again, and was not retried once more.
_ENDED = """(NEW.status IN ('completed', 'failed', 'canceled')
    OR (NEW.status = 'retry_scheduled' AND OLD.status <> 'canceled'))"""


def _sqlite() -> list[str]:
    def count(row: str, n: int) -> str:
        return _COUNT.format(row=row, slot=0, n=n)

    return [
        f"CREATE TRIGGER jobs_count_insert AFTER INSERT ON jobs BEGIN {count('NEW', 1)}; END",
        f"CREATE TRIGGER jobs_count_delete AFTER DELETE ON jobs BEGIN {count('OLD', -1)}; END",
        f"CREATE TRIGGER jobs_count_update AFTER UPDATE OF status, queue ON jobs "
        f"WHEN OLD.status <> NEW.status OR OLD.queue <> NEW.queue BEGIN {count('OLD', -1)}; {count('NEW', 1)}; END",
        f"CREATE TRIGGER jobs_minute AFTER UPDATE OF status ON jobs "
        f"WHEN OLD.status <> NEW.status AND {_ENDED} BEGIN {_MINUTE.format(minute=_SQLITE_MINUTE, slot=0)}; END",
    ]


def _postgresql() -> list[str]:
    minute, slot = _POSTGRESQL_MINUTE, _POSTGRESQL_SLOT
    return [
        f"""CREATE FUNCTION jobs_counted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF TG_OP = 'INSERT' THEN
            {_COUNT.format(row="NEW", slot=slot, n=1)}; RETURN NEW;
          ELSIF TG_OP = 'DELETE' THEN
            {_COUNT.format(row="OLD", slot=slot, n=-1)}; RETURN OLD;
          ELSIF OLD.status <> NEW.status OR OLD.queue <> NEW.queue THEN
            IF OLD.queue || OLD.status < NEW.queue || NEW.status THEN
              {_COUNT.format(row="OLD", slot=slot, n=-1)}; {_COUNT.format(row="NEW", slot=slot, n=1)};
            ELSE
              {_COUNT.format(row="NEW", slot=slot, n=1)}; {_COUNT.format(row="OLD", slot=slot, n=-1)};
            END IF;
            IF OLD.status <> NEW.status AND {_ENDED} THEN {_MINUTE.format(minute=minute, slot=slot)}; END IF;
          END IF;
          RETURN NEW;
        END $$""",
        "CREATE TRIGGER jobs_counted AFTER INSERT OR DELETE OR UPDATE OF status, queue ON jobs "
        "FOR EACH ROW EXECUTE FUNCTION jobs_counted()",
    ]


_HISTOGRAM = """INSERT INTO job_histograms (minute, queue, task, kind, bucket, slot, n)
  VALUES ({minute}, NEW.queue, NEW.task, '{kind}', {bucket}, {slot}, 1)
  ON CONFLICT (minute, queue, task, kind, bucket, slot) DO UPDATE SET n = job_histograms.n + 1"""
_TRIED = "OLD.status = 'processing' AND NEW.status IN ('completed', 'failed', 'retry_scheduled')"


def _histograms(minute: str, slot: str) -> str:
    filled = {"minute": minute, "slot": slot}
    kinds = (("run", "COALESCE(NEW.run_ms, 0)"), ("wait", "COALESCE(NEW.wait_ms, 0)"))
    return "; ".join(_HISTOGRAM.format(kind=kind, bucket=sql_bucket(column), **filled) for kind, column in kinds)


def create_histograms(connection: Connection) -> None:
    """Create the triggers that keep `job_histograms`."""
    if connection.dialect.name == "sqlite":
        body = _histograms(_SQLITE_FIVE, "0")
        statements = [
            f"CREATE TRIGGER jobs_histogram AFTER UPDATE OF status ON jobs WHEN {_TRIED} BEGIN {body}; END",
        ]
    else:
        body = _histograms(_POSTGRESQL_FIVE, _POSTGRESQL_SLOT)
        statements = [
            f"CREATE FUNCTION jobs_measured() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body}; RETURN NEW; END $$",
            f"CREATE TRIGGER jobs_measured AFTER UPDATE OF status ON jobs FOR EACH ROW WHEN ({_TRIED}) "
            "EXECUTE FUNCTION jobs_measured()",
        ]
    _run(connection, statements)


def drop_histograms(connection: Connection) -> None:
    """Drop them again."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS jobs_histogram")
    else:
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS jobs_measured ON jobs")
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS jobs_measured()")


def create(connection: Connection) -> None:
    """Create the triggers in this database."""
    _run(connection, _sqlite() if connection.dialect.name == "sqlite" else _postgresql())


def drop(connection: Connection) -> None:
    """Drop them again."""
    if connection.dialect.name == "sqlite":
        for name in ("jobs_count_insert", "jobs_count_delete", "jobs_count_update", "jobs_minute"):
            connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS {name}")
    else:
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS jobs_counted ON jobs")
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS jobs_counted()")


def _run(connection: Connection, statements: list[str]) -> None:
    for statement in statements:
        connection.exec_driver_sql(statement.replace("%", "%%") if connection.dialect.name != "sqlite" else statement)
