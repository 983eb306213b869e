"""Every blueprint, in one list."""

from __future__ import annotations

from flask import Flask

from dashboard.api import alerts as alerts_api
from dashboard.api import bulk_actions as bulk_actions_api
from dashboard.api import health as health_api
from dashboard.api import jobs as jobs_api
from dashboard.api import monitor as monitor_api
from dashboard.api import queues as queues_api
from dashboard.api import schedules as schedules_api
from dashboard.api import triggers as triggers_api
from dashboard.pages import (
    alerts,
    bulk_actions,
    files,
    health,
    job,
    job_actions,
    job_columns,
    job_log,
    jobs,
    overview,
    palette,
    people,
    queues,
    schedule_form,
    schedule_load,
    schedules,
    second_factor,
    session,
    settings,
    stuck,
    tasks,
    triggers,
    undo,
    workers,
)

BLUEPRINTS = (
    session.bp,
    overview.bp,
    jobs.bp,
    job.bp,
    job_actions.bp,
    job_columns.bp,
    job_log.bp,
    files.bp,
    queues.bp,
    workers.bp,
    tasks.bp,
    settings.bp,
    undo.bp,
    people.bp,
    second_factor.bp,
    palette.bp,
    health_api.bp,
    jobs_api.bp,
    queues_api.bp,
    bulk_actions.bp,
    bulk_actions_api.bp,
    stuck.bp,
    alerts.bp,
    health.bp,
    alerts_api.bp,
    monitor_api.bp,
    schedules_api.bp,
    schedule_form.bp,
    schedule_load.bp,
    schedules.bp,
    triggers.bp,
    triggers_api.bp,
)


def register(app: Flask) -> None:
    """Register them."""
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
