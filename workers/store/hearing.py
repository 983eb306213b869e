"""The trigger that writes an event when a job ends, if somebody listens: in the transaction that ends it, whoever ends it.

Listening costs nothing while nobody does: the question is one look into a partial index that is empty then.
"""

from __future__ import annotations

from sqlalchemy import Connection

from workers.domain.names import SYSTEM_QUEUES

_OWN = ", ".join(f"'{name}'" for name in SYSTEM_QUEUES)
_ENDED = f"OLD.status <> NEW.status AND NEW.status IN ('completed', 'failed', 'canceled') AND NEW.queue NOT IN ({_OWN})"
_NOTE = """INSERT INTO events (at, name, payload, actor, job_id)
  SELECT NEW.updated_at, 'job.' || NEW.status, '{}', '', NEW.id
  WHERE EXISTS (SELECT 1 FROM triggers WHERE hears_jobs AND enabled)"""


def create(connection: Connection) -> None:
    """Create the trigger in this database."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(
            f"CREATE TRIGGER jobs_heard AFTER UPDATE OF status ON jobs WHEN {_ENDED} BEGIN {_NOTE}; END"
        )
        return
    connection.exec_driver_sql(
        f"CREATE FUNCTION jobs_heard() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_NOTE}; RETURN NEW; END $$"
    )
    connection.exec_driver_sql(
        f"CREATE TRIGGER jobs_heard AFTER UPDATE OF status ON jobs FOR EACH ROW WHEN ({_ENDED}) "
        "EXECUTE FUNCTION jobs_heard()"
    )


def drop(connection: Connection) -> None:
    """Drop it again."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS jobs_heard")
    else:
        connection.exec_driver_sql("DROP TRIGGER IF EXISTS jobs_heard ON jobs")
        connection.exec_driver_sql("DROP FUNCTION IF EXISTS jobs_heard()")
