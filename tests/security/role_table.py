"""The role of every route, declared by hand: a new route without a line here, or with another role, fails the matrix."""

from __future__ import annotations

_PUBLIC = """
GET /api/openapi.json
GET /healthz
GET /readyz
GET /sign-in
GET /sign-in/code
POST /sign-in
POST /sign-in/code
"""
_VIEWER = """
GET /
GET /alerts
GET /alerts/<id:alert_id>
GET /alerts/bell
GET /api/docs
GET /api/v1/alert-rules
GET /api/v1/alert-rules/<rule:rule_id>
GET /api/v1/alerts
GET /api/v1/alerts/<id:alert_id>
GET /api/v1/bulk-actions
GET /api/v1/bulk-actions/<id:action_id>
GET /api/v1/bulk-actions/<id:action_id>/refusals
GET /api/v1/jobs
GET /api/v1/jobs/<id:job_id>
GET /api/v1/jobs/<id:job_id>/attempts
GET /api/v1/jobs/<id:job_id>/events
GET /api/v1/jobs/<id:job_id>/explanation
GET /api/v1/jobs/<id:job_id>/logs
GET /api/v1/metrics/health
GET /api/v1/metrics/tasks
GET /api/v1/queues
GET /api/v1/queues/<queue:name>
GET /api/v1/schedules
GET /api/v1/schedules/<id:schedule_id>
GET /api/v1/schedules/<id:schedule_id>/fires
POST /api/v1/schedules/preview
GET /api/v1/stuck-jobs
GET /api/v1/sweeps
GET /api/v1/tasks
GET /api/v1/triggers
GET /api/v1/triggers/<id:trigger_id>
GET /api/v1/triggers/<id:trigger_id>/firings
GET /api/v1/workers
GET /bulk-actions
GET /bulk-actions/<id:action_id>
GET /bulk-actions/running
GET /health
GET /jobs
GET /jobs/<id:job_id>
GET /jobs/<id:job_id>/files/<name:name>
GET /jobs/<id:job_id>/log
GET /jobs/<id:job_id>/logs.txt
GET /jobs/<id:job_id>/text
GET /jobs/export
GET /metrics
GET /more
GET /palette
GET /queues
GET /queues/<queue:name>
GET /schedules
GET /schedules/<id:schedule_id>
GET /schedules/load
GET /schedules/preview
GET /settings
POST /jobs/columns
POST /settings/password
POST /sign-out
GET /stuck
GET /tasks
GET /triggers
GET /triggers/<id:trigger_id>
GET /workers
POST /settings/second-factor
POST /settings/second-factor/confirmations
POST /settings/second-factor/recovery-codes
POST /settings/second-factor/removals
POST /settings/sessions/<id:session_id>/ends
POST /settings/sessions/ends
"""
_OPERATOR = """
POST /alerts/<id:alert_id>/acknowledgements
POST /alerts/<id:alert_id>/silences
POST /alerts/<id:alert_id>/unsilences
PUT /api/v1/alerts/<id:alert_id>/acknowledgement
DELETE /api/v1/alerts/<id:alert_id>/silence
PUT /api/v1/alerts/<id:alert_id>/silence
POST /api/v1/bulk-actions
DELETE /api/v1/bulk-actions/<id:action_id>
POST /api/v1/events
POST /api/v1/jobs
DELETE /api/v1/jobs/<id:job_id>
POST /api/v1/jobs/<id:job_id>/cancellations
POST /api/v1/jobs/<id:job_id>/failures
PUT /api/v1/jobs/<id:job_id>/leave
POST /api/v1/jobs/<id:job_id>/resets
POST /api/v1/jobs/<id:job_id>/retries
POST /api/v1/jobs/<id:job_id>/runs
POST /api/v1/jobs/bulk
PUT /api/v1/pool
DELETE /api/v1/queues/<queue:name>/pause
PUT /api/v1/queues/<queue:name>/pause
POST /api/v1/queues/<queue:name>/purges
POST /api/v1/schedules
DELETE /api/v1/schedules/<id:schedule_id>
PATCH /api/v1/schedules/<id:schedule_id>
POST /api/v1/schedules/<id:schedule_id>/runs
POST /api/v1/sweeps
POST /api/v1/triggers
DELETE /api/v1/triggers/<id:trigger_id>
PATCH /api/v1/triggers/<id:trigger_id>
POST /api/v1/triggers/<id:trigger_id>/tests
POST /api/v1/workers/<name:name>/stops
POST /api/v1/bulk-actions/<id:action_id>/resumptions
POST /bulk-actions/<id:action_id>/resumptions
POST /bulk-actions
POST /bulk-actions/<id:action_id>/aborts
POST /events
POST /jobs/<id:job_id>/cancellations
GET /jobs/<id:job_id>/deletions
POST /jobs/<id:job_id>/deletions
GET /jobs/<id:job_id>/edit
POST /jobs/<id:job_id>/edit
GET /jobs/<id:job_id>/failures
POST /jobs/<id:job_id>/failures
POST /jobs/<id:job_id>/leave
POST /jobs/<id:job_id>/resets
POST /jobs/<id:job_id>/retries
POST /jobs/<id:job_id>/runs
POST /jobs/selection
POST /pool
POST /queues/<queue:name>/pauses
GET /queues/<queue:name>/purges
POST /queues/<queue:name>/purges
POST /queues/<queue:name>/resumes
GET /schedules/<id:schedule_id>/deletions
POST /schedules/<id:schedule_id>/deletions
GET /schedules/<id:schedule_id>/edit
POST /schedules/<id:schedule_id>/edit
POST /schedules/<id:schedule_id>/pauses
POST /schedules/<id:schedule_id>/resumes
POST /schedules/<id:schedule_id>/runs
GET /schedules/crowds/<number:index>
POST /schedules/crowds/<number:index>
GET /schedules/new
POST /schedules/new
POST /schedules/samples
POST /stuck/findings/<number:finding_id>/undo
POST /stuck/sweeps
GET /tasks/<task:name>/run
POST /tasks/<task:name>/run
GET /triggers/<id:trigger_id>/deletions
POST /triggers/<id:trigger_id>/deletions
GET /triggers/<id:trigger_id>/edit
POST /triggers/<id:trigger_id>/edit
POST /triggers/<id:trigger_id>/pauses
POST /triggers/<id:trigger_id>/resumes
GET /triggers/new
POST /triggers/new
POST /workers/<name:name>/stops
"""
_ADMIN = """
POST /alert-channels
POST /alert-channels/<channel:channel_id>/deletions
POST /alert-channels/<channel:channel_id>/tests
GET /alert-rules/<rule:rule_id>
POST /alert-rules/<rule:rule_id>
POST /alert-rules/<rule:rule_id>/deletions
POST /alert-rules/<rule:rule_id>/tests
GET /api/v1/alert-channels
POST /api/v1/alert-channels
DELETE /api/v1/alert-channels/<channel:channel_id>
POST /api/v1/alert-channels/<channel:channel_id>/tests
POST /api/v1/alert-rules
DELETE /api/v1/alert-rules/<rule:rule_id>
PATCH /api/v1/alert-rules/<rule:rule_id>
POST /api/v1/alert-rules/<rule:rule_id>/tests
GET /audit
POST /settings/tokens
POST /settings/tokens/<id:token_id>/revocations
POST /settings/users
POST /settings/users/<user:name>
POST /settings/webhook-secret
POST /settings/second-factor/policy
"""

ROLE_OF: dict[str, str] = {
    line: role
    for role, lines in (("public", _PUBLIC), ("viewer", _VIEWER), ("operator", _OPERATOR), ("admin", _ADMIN))
    for line in lines.strip().splitlines()
}
# What a client may emit on a live connection, and the role that it needs.
ROLE_OF_EVENT: dict[str, str] = {"watch": "viewer", "unwatch": "viewer"}
