"""Sessions are rows: they end when they should, copies of a cookie with them."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select

from dashboard.cookies import session_cookie_name
from dashboard.factory import create_app
from dashboard.live import NAMESPACE, socketio
from tests.conftest import Auth
from tests.people import PASSWORD, add_person
from tests.support import eventually, sign_in
from workers.domain.actors import Actor
from workers.domain.clock import utcnow
from workers.domain.errors import Conflict, NotFound
from workers.domain.masking import MASK
from workers.services import retention, sessions, users
from workers.services.sessions import Device
from workers.store import migrate
from workers.store import settings as setting_rows
from workers.store import users as user_rows
from workers.store.models import AuditEntry
from workers.store.sessions import SESSIONS
from workers.store.types import Row
from workers.yard import Yard

TESTS = Actor("system", "tests", "admin")
DEVICE = Device("203.0.113.9", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0")
NEW_PASSWORD = "violet tractor 7 nobody"
AUDIT = AuditEntry.__table__


def user(yard: Yard, name: str) -> Row:
    with yard.database.read() as connection:
        row = user_rows.by_name(connection, name)
    assert row is not None
    return row


def add(yard: Yard, name: str = "otto", role: str = "viewer") -> Row:
    add_person(yard, name, role)
    return user(yard, name)


def start(yard: Yard, row: Row, **options: Any) -> str:
    secret = sessions.create(yard, row, DEVICE, **options)
    assert secret is not None
    return secret


def change_row(yard: Yard, **values: Any) -> None:
    with yard.database.write() as connection:
        connection.execute(SESSIONS.update().values(values))


def copy_of(client: FlaskClient, app: Flask) -> FlaskClient:
    """Return another browser with a copy of the session cookie."""
    other = app.test_client()
    cookie = client.get_cookie(app.config["SESSION_COOKIE_NAME"])
    assert cookie is not None
    other.set_cookie(app.config["SESSION_COOKIE_NAME"], cookie.value)
    return other


def post(client: FlaskClient, auth: Auth, path: str, **fields: str) -> Any:
    return client.post(path, data={"csrf_token": auth.csrf(client), **fields})


def audited(yard: Yard, action: str) -> list[Any]:
    with yard.database.read() as connection:
        return list(connection.execute(select(AUDIT).where(AUDIT.c.action == action)).mappings())


# In SQL, on both databases.


def test_the_row_holds_a_hash_and_where_the_session_is_used(yard: Yard) -> None:
    secret = start(yard, add(yard))
    with yard.database.read() as connection:
        row = connection.execute(select(SESSIONS)).mappings().one()
    assert secret not in json.dumps(dict(row), default=str)
    assert (row["address"], row["user_agent"]) == (DEVICE.address, DEVICE.user_agent)


def test_a_session_ends_when_it_is_not_used(yard: Yard) -> None:
    secret = start(yard, add(yard))
    limit = timedelta(minutes=yard.settings.session_idle_minutes)
    change_row(yard, seen_at=utcnow() - limit + timedelta(minutes=1))
    assert sessions.find(yard, secret) is not None
    change_row(yard, seen_at=utcnow() - limit - timedelta(seconds=1))
    assert sessions.find(yard, secret) is None


def test_a_session_ends_after_its_longest_time_however_much_it_is_used(yard: Yard) -> None:
    secret = start(yard, add(yard), stay=True)
    change_row(yard, expires_at=utcnow() - timedelta(seconds=1))
    assert sessions.find(yard, secret) is None


def test_use_is_noted_once_a_minute_and_when_the_address_changes(yard: Yard) -> None:
    secret = start(yard, add(yard))
    earlier = utcnow() - timedelta(minutes=2)
    change_row(yard, seen_at=earlier)
    found = sessions.find(yard, secret)
    assert found is not None
    sessions.note_use(yard, found, DEVICE)
    found = sessions.find(yard, secret)
    assert found is not None
    assert found.seen_at > earlier
    sessions.note_use(yard, found, DEVICE)
    assert sessions.find(yard, secret) == found
    sessions.note_use(yard, found, Device("203.0.113.10", "another"))
    moved = sessions.find(yard, secret)
    assert moved is not None
    assert moved.address == "203.0.113.10"


@pytest.mark.parametrize("change", ["role", "lock", "password", "delete", "sign out everywhere"])
def test_a_change_of_the_user_ends_every_session(yard: Yard, change: str) -> None:
    row = add(yard)
    secrets = [start(yard, row), start(yard, row, stay=True)]
    other = start(yard, add(yard, "vera"))
    match change:
        case "role":
            users.change(yard, "otto", TESTS, role="operator")
        case "lock":
            users.change(yard, "otto", TESTS, disabled=True)
        case "password":
            users.set_password(yard, "otto", NEW_PASSWORD, TESTS)
        case "delete":
            add(yard, "ada", "admin")
            users.remove(yard, "otto", TESTS)
        case _:
            assert sessions.end_all(yard, row["id"], TESTS) == 2
    assert [sessions.find(yard, secret) for secret in secrets] == [None, None]
    assert sessions.find(yard, other) is not None


def test_a_session_does_not_come_back_when_the_user_is_unlocked(yard: Yard) -> None:
    secret = start(yard, add(yard))
    users.change(yard, "otto", TESTS, disabled=True)
    users.change(yard, "otto", TESTS, disabled=False)
    assert sessions.find(yard, secret) is None


@pytest.mark.parametrize("change", ["lock", "password", "delete"])
def test_no_session_starts_for_a_user_who_changed_while_the_password_was_checked(yard: Yard, change: str) -> None:
    row = add(yard)
    match change:
        case "lock":
            users.change(yard, "otto", TESTS, disabled=True)
        case "password":
            users.set_password(yard, "otto", NEW_PASSWORD, TESTS)
        case _:
            add(yard, "ada", "admin")
            users.remove(yard, "otto", TESTS)
    assert sessions.create(yard, row, DEVICE) is None


def test_a_user_has_a_limited_number_of_sessions_and_the_oldest_ends(yard: Yard) -> None:
    row = add(yard)
    secrets = [start(yard, row) for _ in range(sessions.MAX_OF_USER + 2)]
    found = [sessions.find(yard, secret) is not None for secret in secrets]
    assert found == [False, False, *[True] * sessions.MAX_OF_USER]


def test_nobody_ends_a_session_of_somebody_else(yard: Yard) -> None:
    secret = start(yard, add(yard))
    other = add(yard, "vera")
    found = sessions.find(yard, secret)
    assert found is not None
    with pytest.raises(NotFound):
        sessions.end(yard, other["id"], found.session_id, TESTS)
    sessions.end(yard, found.user_id, found.session_id, TESTS)
    with pytest.raises(NotFound):
        sessions.end(yard, found.user_id, found.session_id, TESTS)
    assert sessions.find(yard, secret) is None


def test_rows_of_ended_sessions_are_deleted(yard: Yard) -> None:
    row = add(yard)
    start(yard, row)
    change_row(yard, expires_at=utcnow() - timedelta(seconds=1))
    current = start(yard, row)
    retention.tidy_step(yard, utcnow())
    with yard.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(SESSIONS)).scalar_one() == 1
    assert sessions.find(yard, current) is not None


@pytest.mark.parametrize("secret", ["", "x", "x" * 5000, "\x00", "\ud800", "' OR 1=1 --"])
def test_what_is_no_secret_finds_no_session(yard: Yard, secret: str) -> None:
    start(yard, add(yard))
    assert sessions.find(yard, secret) is None


# Over HTTP.


def test_a_copied_cookie_ends_with_the_sign_out(app: Flask, auth: Auth) -> None:
    client = auth.client("vera")
    copy = copy_of(client, app)
    assert copy.get("/api/v1/jobs").status_code == 200
    assert post(client, auth, "/sign-out").status_code == 303
    assert client.get("/api/v1/jobs").status_code == 401
    assert copy.get("/api/v1/jobs").status_code == 401


def test_a_sign_out_ends_the_live_connections_of_the_session_and_no_other(app: Flask, auth: Auth) -> None:
    client, other = auth.client("vera"), auth.client("vera")
    live = socketio.test_client(app, namespace=NAMESPACE, flask_test_client=client)
    stays = socketio.test_client(app, namespace=NAMESPACE, flask_test_client=other)
    assert live.is_connected(NAMESPACE)
    post(client, auth, "/sign-out")
    namespace = app.extensions["live"]
    assert namespace._must_recheck
    namespace._recheck()
    assert not live.is_connected(NAMESPACE)
    assert stays.is_connected(NAMESPACE)


def test_settings_list_my_sessions_and_end_one(app: Flask, auth: Auth) -> None:
    first = auth.client("vera")
    second = app.test_client()
    second.environ_base["HTTP_USER_AGENT"] = DEVICE.user_agent
    assert sign_in(second, "vera", PASSWORD).status_code == 303
    auth.client("olga")
    page = first.get("/settings").text
    assert page.count("End session") == 2 * 2  # the title of the button says it too
    assert "Firefox 140 on Linux" in page
    assert page.count(">this browser<") == 1
    ends = [part.split('"')[0] for part in page.split('action="/settings/sessions/')[1:] if "/ends" in part[:45]]
    for path in ends:
        post(first, auth, f"/settings/sessions/{path}", confirmed="yes")
        if first.get("/api/v1/jobs").status_code == 401:
            break
    statuses = {client.get("/api/v1/jobs").status_code for client in (first, second)}
    assert 401 in statuses


def test_sign_out_everywhere_else_leaves_this_session(app: Flask, auth: Auth) -> None:
    first, second = auth.client("vera"), auth.client("vera")
    assert post(first, auth, "/settings/sessions/ends", confirmed="yes").status_code == 303
    assert first.get("/api/v1/jobs").status_code == 200
    assert second.get("/api/v1/jobs").status_code == 401


def test_a_change_of_password_keeps_only_the_browser_that_made_it_under_a_new_secret(app: Flask, auth: Auth) -> None:
    client, other = auth.client("vera"), auth.client("vera")
    copy = copy_of(client, app)
    assert post(client, auth, "/settings/password", present=PASSWORD, password=NEW_PASSWORD).status_code == 303
    assert client.get("/api/v1/jobs").status_code == 200
    assert copy.get("/api/v1/jobs").status_code == 401
    assert other.get("/api/v1/jobs").status_code == 401


def test_signing_in_gives_a_new_secret_each_time(app: Flask, auth: Auth) -> None:
    client = auth.client("vera")
    name = app.config["SESSION_COOKIE_NAME"]
    before = client.get_cookie(name)
    post(client, auth, "/sign-out")
    assert sign_in(client, "vera", PASSWORD).status_code == 303
    after = client.get_cookie(name)
    assert before is not None
    assert after is not None
    assert before.value != after.value


def test_a_sign_in_ends_the_session_that_the_browser_had(app: Flask, auth: Auth) -> None:
    client = auth.client("vera")
    copy = copy_of(client, app)
    fields = {"name": "olga", "password": PASSWORD, "csrf_token": auth.csrf(client)}
    assert client.post("/sign-in", data=fields).status_code == 303
    assert client.get("/api/v1/jobs").status_code == 200
    assert copy.get("/api/v1/jobs").status_code == 401


def test_what_pages_read_by_themselves_does_not_keep_a_session_alive(auth: Auth, light_yard: Yard) -> None:
    client = auth.client("vera")
    earlier = utcnow() - timedelta(hours=1)
    change_row(light_yard, seen_at=earlier)
    assert client.get("/jobs", headers={"X-Region": "jobs"}).status_code == 200
    client.get("/socket.io/?EIO=4&transport=polling")
    with light_yard.database.read() as connection:
        assert connection.execute(select(SESSIONS.c.seen_at)).scalar_one() == earlier
    assert client.get("/jobs").status_code == 200
    with light_yard.database.read() as connection:
        assert connection.execute(select(SESSIONS.c.seen_at)).scalar_one() > earlier


def test_an_idle_session_is_asked_to_sign_in_again(auth: Auth, light_yard: Yard) -> None:
    client = auth.client("vera")
    change_row(light_yard, seen_at=utcnow() - timedelta(days=1))
    answer = client.get("/jobs", headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/sign-in?next=/jobs")


def test_a_deleted_user_is_gone_and_the_name_is_free(app: Flask, auth: Auth, light_yard: Yard) -> None:
    vera, ada = auth.client("vera"), auth.client("ada")
    assert post(ada, auth, "/settings/users/vera", change="delete", confirmed="yes").status_code == 303
    assert vera.get("/api/v1/jobs").status_code == 401
    assert sign_in(app.test_client(), "vera", PASSWORD).status_code == 403
    assert audited(light_yard, "user.deleted")
    users.add(light_yard, "vera", "viewer", NEW_PASSWORD, TESTS)
    assert vera.get("/api/v1/jobs").status_code == 401
    assert sign_in(app.test_client(), "vera", NEW_PASSWORD).status_code == 303


def test_an_admin_signs_somebody_out(auth: Auth) -> None:
    vera, ada = auth.client("vera"), auth.client("ada")
    assert post(ada, auth, "/settings/users/vera", change="sign_out", confirmed="yes").status_code == 303
    assert vera.get("/api/v1/jobs").status_code == 401


TAKE_AWAY = {
    "delete": lambda yard: users.remove(yard, "ada", TESTS),
    "lock": lambda yard: users.change(yard, "ada", TESTS, disabled=True),
    "role": lambda yard: users.change(yard, "ada", TESTS, role="viewer"),
}


@pytest.mark.parametrize("change", TAKE_AWAY)
def test_the_last_admin_who_may_sign_in_stays(yard: Yard, change: str) -> None:
    add(yard, "ada", "admin")
    add(yard, "bert", "admin")
    users.change(yard, "bert", TESTS, disabled=True)
    with pytest.raises(Conflict, match="only admin"):
        TAKE_AWAY[change](yard)
    users.change(yard, "bert", TESTS, disabled=False)
    TAKE_AWAY[change](yard)


def test_two_admins_who_delete_each_other_at_once_leave_one(yard: Yard) -> None:
    for name in ("ada", "bert"):
        add(yard, name, "admin")
    start_together = threading.Barrier(2)

    def remove(name: str, by: str) -> bool:
        start_together.wait()
        try:
            users.remove(yard, name, Actor("user", by, "admin"))
        except Conflict:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        removed = list(pool.map(remove, ("ada", "bert"), ("bert", "ada")))
    assert sorted(removed) == [False, True]


# One-time passwords.


def test_a_one_time_password_expires(yard: Yard) -> None:
    password = users.add(yard, "otto", "viewer", None, TESTS)
    assert users.check_password(yard, "otto", password) is not None
    with yard.database.write() as connection:
        values = {"password_expires_at": utcnow() - timedelta(seconds=1)}
        user_rows.change(connection, user(yard, "otto")["id"], values)
    assert users.check_password(yard, "otto", password) is None
    renewed = users.set_password(yard, "otto", None, TESTS)
    assert users.check_password(yard, "otto", renewed) is not None
    users.set_password(yard, "otto", NEW_PASSWORD, TESTS)
    assert user(yard, "otto")["password_expires_at"] is None


# Cookies.


def test_behind_tls_the_cookie_is_bound_to_the_host_and_hsts_is_sent(light_yard: Yard) -> None:
    settings = replace(light_yard.settings, trusted_proxies=1)
    app = create_app(settings, replace(light_yard, settings=settings))
    add(light_yard)
    client = app.test_client()
    client.environ_base |= {"HTTP_X_FORWARDED_PROTO": "https", "HTTP_X_FORWARDED_HOST": "tasks.example.com"}
    page = client.get("/sign-in", base_url="https://tasks.example.com")
    cookie = page.headers["Set-Cookie"]
    assert cookie.startswith("__Host-taskyard_5000=")
    for part in ("Secure", "HttpOnly", "Path=/", "SameSite=Lax"):
        assert part in cookie
    assert "Domain=" not in cookie
    assert page.headers["Strict-Transport-Security"] == "max-age=31536000"
    app.extensions["live"].close()


def test_without_tls_no_header_promises_it(app: Flask) -> None:
    answer = app.test_client().get("/sign-in")
    assert "Strict-Transport-Security" not in answer.headers
    assert answer.headers["Set-Cookie"].startswith("taskyard_")


# Sessions of earlier versions.


def old_client(app: Flask, yard: Yard, name: str = "vera", days: float = 14) -> FlaskClient:
    """Return a browser that signed in before the upgrade."""
    row = user(yard, name)
    client = app.test_client()
    with client.session_transaction() as session:
        session["_user_id"] = f"{row['id']}:{row['epoch']}"
        session["csrf_token"] = f"of a browser {id(client)}"
        session.permanent = True
    with yard.database.write() as connection:
        until = (utcnow() + timedelta(days=days)).isoformat()
        setting_rows.put(connection, "old_sessions_until", until, utcnow())
    return client


def test_a_session_of_an_earlier_version_becomes_a_row(app: Flask, light_yard: Yard) -> None:
    client = old_client(app, light_yard)
    for _ in range(2):
        assert client.get("/api/v1/jobs").status_code == 200
    with client.session_transaction() as session:
        assert ":" not in session["_user_id"]
    with light_yard.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(SESSIONS)).scalar_one() == 1


def test_requests_at_once_with_an_earlier_cookie_share_one_session(app: Flask, light_yard: Yard) -> None:
    client = old_client(app, light_yard)
    copies = [copy_of(client, app) for _ in range(3)]
    assert [copy.get("/api/v1/jobs").status_code for copy in copies] == [200, 200, 200]
    with light_yard.database.read() as connection:
        assert connection.execute(select(func.count()).select_from(SESSIONS)).scalar_one() == 1


def test_a_copy_of_an_earlier_cookie_ends_with_the_sign_out(app: Flask, auth: Auth, light_yard: Yard) -> None:
    client = old_client(app, light_yard)
    copy = copy_of(client, app)
    assert post(client, auth, "/sign-out").status_code == 303
    assert copy.get("/api/v1/jobs").status_code == 401


def test_an_earlier_cookie_of_a_locked_user_or_after_its_time_is_refused(app: Flask, light_yard: Yard) -> None:
    late = old_client(app, light_yard, "olga", days=-1)
    assert late.get("/api/v1/jobs").status_code == 401
    client = old_client(app, light_yard)
    users.change(light_yard, "vera", TESTS, disabled=True)
    assert client.get("/api/v1/jobs").status_code == 401


def test_an_earlier_cookie_is_read_behind_tls_too_and_nothing_else_of_its_name(light_yard: Yard) -> None:
    settings = replace(light_yard.settings, trusted_proxies=1)
    app = create_app(settings, replace(light_yard, settings=settings))
    row = add(light_yard)
    with light_yard.database.write() as connection:
        setting_rows.put(connection, "old_sessions_until", (utcnow() + timedelta(days=1)).isoformat(), utcnow())
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    name = session_cookie_name(settings.port, is_secure=False)
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "tasks.example.com"}
    statuses = []
    for user_id in (f"{row['id']}:{row['epoch']}", start(light_yard, row)):
        client = app.test_client()
        client.set_cookie(name, serializer.dumps({"_user_id": user_id}), domain="tasks.example.com")
        statuses.append(client.get("/api/v1/jobs", base_url="https://tasks.example.com", headers=proxied).status_code)
    assert statuses == [200, 401]
    app.extensions["live"].close()


def test_the_settings_of_a_one_time_password_show_its_form_only(app: Flask, light_yard: Yard) -> None:
    password = users.add(light_yard, "otto", "admin", None, TESTS)
    client = app.test_client()
    sign_in(client, "otto", password)
    page = client.get("/settings").text
    assert "Change password" in page
    assert "Set your own password" in page
    for other in ("vera", "API tokens", "whsec_", "My sessions", "My second factor"):
        assert other not in page


# What is written down.


def test_sign_ins_are_in_the_audit_and_text_that_may_be_a_password_is_not(app: Flask, light_yard: Yard) -> None:
    client = app.test_client()
    sign_in(client, "vera", "wrong")
    sign_in(app.test_client(), "my secret password typed as a name", "x")
    sign_in(app.test_client(), "vera", PASSWORD)
    failed = audited(light_yard, "sign_in.failed")
    assert [row["target_id"] for row in failed] == ["vera", "(unknown name)"]
    assert {row["actor_kind"] for row in failed} == {"address"}
    assert not [row["after"] for row in failed if MASK in row["after"]]
    started = audited(light_yard, "session.started")
    assert [row["actor"] for row in started] == ["vera"]
    after = json.loads(started[0]["after"])
    assert (after["address"], after["second_factor"]) == ("127.0.0.1", False)


def test_refused_requests_are_in_the_audit(app: Flask, auth: Auth, light_yard: Yard) -> None:
    auth.client("vera").get("/audit")
    app.test_client().get("/api/v1/jobs", headers={"Authorization": "Bearer ty_invented"})
    auth.client("olga").post("/api/v1/jobs", json={"task": "samples.noop"})
    app.test_client().get("/jobs")  # a stranger who is sent to the form is no refusal
    refused = audited(light_yard, "request.refused")
    assert not [row["after"] for row in refused if MASK in row["after"]]
    assert [(row["actor"], row["target_id"]) for row in refused] == [
        ("vera", "GET /audit"),
        ("127.0.0.1", "GET /api/v1/jobs"),
        ("olga", "POST /api/v1/jobs"),
    ]


def test_a_flood_of_refusals_does_not_fill_the_audit(app: Flask, auth: Auth, light_yard: Yard) -> None:
    from dashboard.refusals import LINES_OF_ADDRESS_AN_HOUR

    client = auth.client("vera")
    for _ in range(LINES_OF_ADDRESS_AN_HOUR + 20):
        assert client.get("/audit").status_code == 403
    assert len(audited(light_yard, "request.refused")) == LINES_OF_ADDRESS_AN_HOUR


def test_old_lines_on_refusals_are_deleted_and_what_was_done_stays(app: Flask, auth: Auth, light_yard: Yard) -> None:
    auth.client("vera").get("/audit")
    retention.tidy_step(light_yard, utcnow() + timedelta(days=light_yard.settings.retention_days + 1))
    assert not audited(light_yard, "request.refused")
    assert audited(light_yard, "user.added")


def test_the_page_of_the_audit_shows_them(auth: Auth) -> None:
    auth.client("vera").get("/audit")
    page = auth.client("ada").get("/audit").text
    assert "request.refused" in page
    assert "session.started" in page


def test_the_sweep_ends_live_connections_of_an_ended_session_within_a_second(app: Flask, auth: Auth) -> None:
    client = auth.client("vera")
    live = socketio.test_client(app, namespace=NAMESPACE, flask_test_client=client)
    assert live.is_connected(NAMESPACE)
    post(client, auth, "/sign-out")

    def has_ended() -> None:
        assert not live.is_connected(NAMESPACE)

    eventually(has_ended, within=5)


def test_the_upgrade_sets_the_time_until_which_earlier_sessions_are_accepted(yard: Yard) -> None:
    row = add(yard)
    waiting = users.add(yard, "paul", "viewer", None, TESTS)
    with yard.database.write() as connection:
        command.downgrade(migrate._config(connection), "0006")
    migrate.migrate(yard.database)
    secret = sessions.adopt(yard, f"{row['id']}:{row['epoch']}", b"key", DEVICE, stay=False)
    assert secret is not None
    assert sessions.find(yard, secret) is not None
    assert users.check_password(yard, "paul", waiting) is not None
    assert user(yard, "paul")["password_expires_at"] is not None
    assert user(yard, "otto")["password_expires_at"] is None
