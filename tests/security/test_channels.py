"""Channels that users add reach public hosts over HTTP or as mail servers, from a process that can do nothing else."""

from __future__ import annotations

import ast
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from flask import Flask
from pytest_httpserver import HTTPServer

from tests.conftest import ROOT
from workers.broker import channel_calls, channel_process
from workers.domain.actors import Actor
from workers.domain.channel_schemes import SCHEMES
from workers.domain.errors import BadInput
from workers.services import channels
from workers.yard import Yard

ADA = Actor("system", "tests", "admin")

HOSTILE = [
    "syslog://localhost", "syslog://", "rsyslog://127.0.0.1", "rsyslog://logs.example", "dbus://", "kde://", "qt://", "glib://", "gnome://",
    "macosx://", "windows://", "blink1://", "mqtt://127.0.0.1/topic", "mqtts://broker.example/topic", "amqp://a.example/q", "irc://a.example/#c",
    "xmpp://u:p@a.example", "growl://a.example", "smpp://u:p@a.example/1/2", "aprs://u:p@a", "nostr://a", "vapid://a@b.c/d", "deltachat://u:p@a.example",
    "file:///etc/passwd", "/etc/passwd", "https://a.example/x.yml", "config://x", "nonsense://x", "", "json",
    "mailto://user:pw@example.org?smtp=127.0.0.1", "mailtos://user:pw@example.org?smtp=localhost&to=a@example.org",
    "mailto://user:pw@example.org?smtp=127.1", "mailto://user:pw@example.org?smtp=2130706433:25", "mailto://user:pw@example.org?smtp=%31%32%37.0.0.1",
    "mailto://user:pw@example.org?smtp=%2531%2532%2537.0.0.1", "mailto://user:pw@example.org?smtp=[::1]", "mailto://user:pw@localhost",
    "MAILTO://user:pw@example.org?SMTP=127.0.0.1", "json://127.0.0.1/x", "json://localhost:8080/x", "json://2130706433/x", "jsons://user:pw@127.1/x",
    "json://１２７.0.0.1/x", "json://127。0。0。1/x", "json://localhost./x", "json://a.localhost/x", "xml://[::1]/x", "json://169.254.169.254/latest",
    "json://%6c%6f%63%61%6c%68%6f%73%74/x", "ntfy://127.0.0.1/topic", "ntfys://10.0.0.1/topic", "gotify://192.168.0.1/token", "matrix://u:p@127.0.0.1/#r",
    "discord://1234567890/abcdefghijklmnop?template=http://127.0.0.1/x", "json://[", "json://a.example/\nx", "json://a.example/" + "x" * 3000,
]  # fmt: skip


def test_a_channel_that_leads_inside_cannot_be_made(app: Flask, auth: Any, light_yard: Yard) -> None:
    client, header = app.test_client(), auth.token("admin")
    for url in HOSTILE:
        answer = client.post("/api/v1/alert-channels", json={"name": "a channel", "url": url}, headers=header)
        assert answer.status_code == 422, url
        assert answer.json["errors"][0]["field"] == "url", url
    with light_yard.database.read() as connection:
        assert channels.every(connection, light_yard.settings) == []


def test_a_mail_server_whose_name_resolves_inside_is_refused_when_the_channel_is_made(light_yard: Yard) -> None:
    name = socket.gethostname()
    try:
        addresses = {entry[4][0] for entry in socket.getaddrinfo(name, None)}
    except OSError:
        pytest.skip("this machine does not know its own name")
    if not all(str(address).startswith(("127.", "10.", "192.168.", "172.", "::1", "f")) for address in addresses):
        pytest.skip("this machine's name stands for a public address")
    for url in (f"mailto://user:pw@example.org?smtp={name}", f"json://{name}/x"):
        with pytest.raises(BadInput, match="resolves to a private"):
            channels.create(light_yard, "a channel", url, ADA)


def test_a_channel_that_leads_outside_can_be_made(light_yard: Yard) -> None:
    for number, url in enumerate(
        ("jsons://hooks.example/x", "mailtos://user:pw@example.org?to=a@example.org", "ntfys://ntfy.example/topic")
    ):
        assert channels.create(light_yard, f"channel {number}", url, ADA).url == url


def test_the_web_process_never_loads_apprise(app: Flask, auth: Any) -> None:
    """It is large, and whatever its plug-ins do to a process is done to one that ends."""
    code = (
        "import sys; from tests.conftest import ROOT; import app; from dashboard.factory import create_app;"
        "import workers.services.channels, workers.services.deliveries, workers.services.watchman;"
        "print([name for name in sys.modules if name.split('.')[0] == 'apprise'])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_kind_that_may_be_added_is_known_to_apprise_and_uses_no_other_protocol() -> None:
    from apprise.manager_plugins import NotificationManager

    manager = NotificationManager()
    manager.load_modules()
    assert SCHEMES - set(manager.schemas()) == set()
    forbidden = {"socket", "subprocess", "ctypes", "dbus", "gi", "paho", "slixmpp", "gntp", "smpplib", "websocket", "multiprocessing"}  # fmt: skip
    for scheme in SCHEMES:
        module = sys.modules[manager[scheme].__module__]
        if scheme in {"mailto", "mailtos"}:
            continue
        tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
        names = {
            name.split(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [one.name for one in node.names])
        }
        assert names & (forbidden | {"smtplib"}) == set(), scheme


@pytest.fixture
def trap() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Listen for anything that arrives on one port of loopback, by TCP and UDP."""
    with socket.create_server(("127.0.0.1", 0)) as stream, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        datagrams.bind(stream.getsockname())
        stream.settimeout(0.5)
        datagrams.settimeout(0.5)
        yield stream, datagrams


def nothing_arrives(trap: tuple[socket.socket, socket.socket]) -> None:
    with pytest.raises(TimeoutError):
        trap[0].accept()
    with pytest.raises(TimeoutError):
        trap[1].recv(10)


@pytest.mark.parametrize(
    "url",
    ["json://localhost:{port}/x", "xml://127.0.0.1:{port}/", "ntfy://127.0.0.1:{port}/topic", "gotify://127.0.0.1:{port}/token",
     "mailto://u:p@example.org:{port}?smtp=127.0.0.1", "mailto://u:p@example.org:{port}?smtp=localhost&mode=insecure",
     "rsyslog://127.0.0.1:{port}", "mqtt://127.0.0.1:{port}/t", "syslog://"],
)  # fmt: skip
def test_a_channel_that_exists_already_reaches_nothing_inside(light_yard: Yard, trap: Any, url: str) -> None:
    """As after an upgrade, or when a name changes its address: `localhost` stands for such a name."""
    target = url.format(port=trap[0].getsockname()[1])
    taken, answer = channels.send(
        light_yard.settings, channels.Channel("c", "old", target, is_ours=True), "t", "b", "info"
    )
    assert not taken
    assert "private or loopback" in answer or "ALERT_URLS" in answer
    nothing_arrives(trap)


def test_the_operators_own_channels_and_allowed_ones_reach_inside(light_yard: Yard, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/x", method="POST").respond_with_data("ok")
    url = httpserver.url_for("/x").replace("http://", "json://")
    allowing = replace(light_yard.settings, allow_private_http=True)
    ours, theirs = channels.Channel("c", "c", url, is_ours=True), channels.Channel("c", "c", url, is_ours=False)
    assert channels.send(light_yard.settings, theirs, "t", "b", "info")[0]
    assert channels.send(allowing, ours, "t", "b", "info")[0]
    title = "a\r\nb =?utf-8?q?x=0D=0A?="
    assert channels.send(allowing, ours, title, "b", "info")[0]
    assert [json.loads(request.get_data())["title"] for request, _ in httpserver.log] == ["t", "t", "a b = ?utf-8?q?x=0D=0A?="]  # fmt: skip


CONFINED = """
import os, socket, subprocess, sys, threading, asyncio, ctypes, multiprocessing, http.client, smtplib, sqlite3, urllib.request
{prelude}
import httpx, requests, urllib3
from workers.broker.confinement import RefusedByConfinement, confine
tcp, secret, written = ("127.0.0.1", int(sys.argv[1])), sys.argv[2], sys.argv[3]
udp = lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server = socket.create_server(("127.0.0.1", 0))
from workers.domain.addresses import is_public
refused = confine([])

async def by_asyncio():
    await asyncio.open_connection(*tcp)

attempts = dict(
    create_connection=lambda: socket.create_connection(tcp),
    connect=lambda: socket.socket().connect(tcp),
    connect_ex=lambda: socket.socket().connect_ex(tcp),
    connect_by_name=lambda: socket.socket().connect(("localhost", tcp[1])),
    connect_short=lambda: socket.socket().connect(("127.1", tcp[1])),
    six=lambda: socket.socket(socket.AF_INET6).connect(("::1", tcp[1])),
    mapped=lambda: socket.socket(socket.AF_INET6).connect(("::ffff:127.0.0.1", tcp[1])),
    unspecified=lambda: socket.socket().connect(("0.0.0.0", tcp[1])),
    broadcast=lambda: udp().sendto(b"x", ("<broadcast>", tcp[1])),
    sendto=lambda: udp().sendto(b"x", tcp),
    sendto_flags=lambda: udp().sendto(b"x", 0, tcp),
    fast_open=lambda: socket.socket().sendto(b"x", 0x20000000, tcp),
    sendmsg=lambda: udp().sendmsg([b"x"], [], 0, tcp),
    udp_connect=lambda: udp().connect(tcp),
    unix=lambda: socket.socket(socket.AF_UNIX).connect("/run/x"),
    unix_datagram=lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"x", "/dev/log"),
    listen=lambda: socket.create_server(("127.0.0.1", 0)),
    requests=lambda: requests.get("http://127.0.0.1:%d/" % tcp[1], timeout=2),
    urllib3=lambda: urllib3.PoolManager(retries=False).request("GET", "http://127.0.0.1:%d/" % tcp[1]),
    urllib=lambda: urllib.request.urlopen("http://127.0.0.1:%d/" % tcp[1], timeout=2),
    httpx=lambda: httpx.get("http://127.0.0.1:%d/" % tcp[1], timeout=2),
    http_client=lambda: http.client.HTTPConnection(*tcp).request("GET", "/"),
    smtplib=lambda: smtplib.SMTP(*tcp),
    popen=lambda: subprocess.run(["true"]),
    system=lambda: os.system("true"),
    fork=lambda: os.fork(),
    spawn=lambda: os.posix_spawn("/bin/true", ["true"], {{}}),
    execute=lambda: os.execv("/bin/true", ["true"]),
    library=lambda: ctypes.CDLL("libc.so.6"),
    read=lambda: open(secret).read(),
    read_by_link=lambda: open("/proc/self/root" + secret).read(),
    read_low=lambda: os.open(secret, os.O_RDONLY),
    read_passwd=lambda: open("/etc/passwd").read(),
    read_environment=lambda: open("/proc/self/environ").read(),
    write=lambda: open(written, "w"),
    append=lambda: open(written, "ab"),
    create=lambda: os.open(written, os.O_CREAT | os.O_WRONLY),
    remove=lambda: os.remove(secret),
    rename=lambda: os.rename(secret, written),
    link=lambda: os.symlink(secret, written),
    database=lambda: sqlite3.connect(written),
    {more}
)
escaped = []
for name, attempt in attempts.items():
    before = len(refused)
    def run():
        try:
            attempt()
        except Exception:
            pass
    for thread in (False, True):
        if thread:
            other = threading.Thread(target=run)
            other.start()
            other.join(10)
        else:
            run()
    if len(refused) < before + 2:
        escaped.append(name)
assert is_public("93.184.216.34") and open(os.devnull).read() == ""
print(len(attempts), escaped)
"""
PLAIN = {"prelude": "", "more": "asyncio=lambda: asyncio.run(by_asyncio()),"}
GEVENT = {
    "prelude": "from gevent import monkey; monkey.patch_all(); import gevent, gevent.socket",
    "more": "gevent=lambda: gevent.socket.create_connection(tcp), greenlet=lambda: gevent.spawn(socket.create_connection, tcp).get(),",
}


def escapes(way: dict[str, str], trap: Any, folder: Path) -> None:
    """Confine a process, let it try every way out, in its own and in another thread; none may be open."""
    secret = folder / "secret"
    secret.write_text("hunter2")
    port = str(trap[0].getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-c", CONFINED.format(**way), port, str(secret), str(folder / "written")],
        cwd=ROOT, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    count, _, escaped = done.stdout.strip().partition(" ")
    assert (escaped, int(count or 0) > 40) == ("[]", True), done.stderr
    nothing_arrives(trap)
    assert sorted(path.name for path in folder.iterdir()) == ["secret"]


def test_a_guarded_call_cannot_connect_inside_in_any_way(tmp_path: Path, trap: Any) -> None:
    escapes(PLAIN, trap, tmp_path)


def test_the_guard_holds_under_gevent_too(tmp_path: Path, trap: Any) -> None:
    escapes(GEVENT, trap, tmp_path)


def test_a_confined_process_gets_neither_secrets_nor_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SECRET_KEY", "DATABASE_URL", "SMTP_URL_FILE", "HTTPS_PROXY", "http_proxy", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "hunter2")
    assert "hunter2" not in channel_calls._environment(is_confined=True).values()
    free = channel_calls._environment(is_confined=False)
    assert {name for name, value in free.items() if value == "hunter2"} == {"HTTPS_PROXY", "http_proxy", "AWS_SECRET_ACCESS_KEY"}  # fmt: skip


def test_a_file_of_this_machine_cannot_be_sent_as_a_template_or_key(light_yard: Yard, tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"text": "hunter2"}')
    hook = "A" * 8 + "-" + "B" * 4
    for url in (f"workflow://hooks.example/{hook}/{hook}?template={secret}", f"slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ?template={secret}"):  # fmt: skip
        channel = channels.Channel("c", "c", url, is_ours=True)
        taken, answer = channels.send(light_yard.settings, channel, "t", "b", "info")
        assert not taken
        assert "hunter2" not in answer


@pytest.mark.parametrize(
    ("url", "location", "is_same"),
    [
        ("https://a.example/x", "/y", True),
        ("https://a.example/x", "https://a.example:443/y", True),
        ("http://a.example/x", "https://a.example/y", True),
        ("https://a.example/x", "http://a.example/y", False),
        ("https://a.example/x", "https://a.example:8443/y", False),
        ("https://a.example/x", "//b.example/y", False),
        ("https://a.example/x", "https://a.example.b.example/y", False),
    ],
)
def test_a_channel_follows_redirects_on_its_own_host_only(url: str, location: str, is_same: bool) -> None:
    assert channel_process._is_same_host(url, location) is is_same


REDIRECTED = """
import requests, sys
from workers.broker import channel_process
from workers.broker.confinement import stay_on_host
refused = []
found = requests.Session.get_redirect_target
requests.Session.get_redirect_target = stay_on_host(refused, found, channel_process._is_same_host)
answer = requests.post(sys.argv[1], headers={"X-Api-Key": "hunter2"}, data="x")
print(answer.status_code, len(refused))
"""


def test_a_redirect_of_a_channel_to_another_host_is_not_followed(httpserver: HTTPServer) -> None:
    with HTTPServer(host="127.0.0.1") as other:
        for path, target in (("/there", other.url_for("/x")), ("/here", "/end")):
            httpserver.expect_request(path).respond_with_data("", status=307, headers={"Location": target})
        httpserver.expect_request("/end").respond_with_data("ok")

        def run(path: str) -> str:
            words = [sys.executable, "-c", REDIRECTED, httpserver.url_for(path)]
            return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

        assert (run("/there"), run("/here")) == ("307 1", "200 0")
        assert other.log == []


UNDER_GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, sys, time
from workers.broker import channel_calls
ticks = 0
def tick():
    global ticks
    while True:
        ticks += 1
        gevent.sleep(0.01)
gevent.spawn(tick)
answers = [gevent.spawn(channel_calls.send, sys.argv[1], "t", "b", "info", is_confined=confined) for confined in (True, False)]
gevent.joinall(answers)
print([answer.value["is_taken"] for answer in answers], ticks > 20)
"""


def test_the_web_process_goes_on_while_a_channel_is_called(httpserver: HTTPServer) -> None:
    httpserver.expect_request("/x").respond_with_data("ok")
    url = httpserver.url_for("/x").replace("http://", "json://")
    done = subprocess.run(
        [sys.executable, "-c", UNDER_GEVENT, url], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.stdout.strip() == "[False, True] True", done.stderr


def test_a_channel_that_never_answers_ends_and_holds_nothing(light_yard: Yard) -> None:
    """The process that calls it has an end of its own, whoever waits for it."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        channel = channels.Channel("c", "c", f"json://127.0.0.1:{hanging.getsockname()[1]}/", is_ours=False)
        taken, _ = channels.send(light_yard.settings, channel, "t", "b", "info")
    assert not taken
    mine = psutil.Process().children()
    assert [child.pid for child in mine if "workers.broker.channel_process" in child.cmdline()] == []
