"""How the web process holds out while it is abused: `python -m bench.abuse [NAME …] [--rounds N] [--list]`.

Each abuse runs against a whole Taskyard on loopback, while `/healthz` is asked ten times a second. Printed are how long
those answers took and how much memory the web process had before, at most, and afterwards. The aims: p99 within 250 ms,
memory within 100 MB of its start. A machine that does other things as well shows in the line of `nothing`.

An abuse is a function that takes a Target and abuses it for as long as it likes; the decorator `abuse` adds it.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from urllib.parse import urlencode

import psutil

from bench._common import ROOT, tell, wait_for
from tests.support import free_port

AIM_SECONDS, AIM_BYTES = 0.25, 100_000_000
SAMPLE_SECONDS = 0.1
MEGABYTE = 1_000_000
LONGEST_SECONDS = 30.0
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
CHUNK = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"


@dataclass
class Target:
    """A running Taskyard."""

    port: int
    data_dir: Path
    web: psutil.Process
    environment: dict[str, str]
    tokens: dict[str, str] = field(default_factory=dict)

    def connect(self, timeout: float = 10) -> socket.socket:
        """Open a connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def token(self, role: str) -> str:
        """Return a token of this role."""
        if role not in self.tokens:
            self.tokens[role] = self.run("tokens", "create", f"abuse {role}", "--role", role).strip()
        return self.tokens[role]

    def run(self, *command: str) -> str:
        """Run a command of the command line."""
        done = subprocess.run(
            [sys.executable, "app.py", *command],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout


Abuse = Callable[[Target], None]
ABUSES: dict[str, Abuse] = {}


def abuse(function: Abuse) -> Abuse:
    """Add an abuse under the name of its function."""
    ABUSES[function.__name__] = function
    return function


@contextlib.contextmanager
def running(open_files: int) -> Iterator[Target]:
    """Start a whole Taskyard, with so many open files for each process, and stop it at the end."""
    with tempfile.TemporaryDirectory(prefix="taskyard-bench-") as folder:
        port = free_port()
        names = {"PATH", "HOME", "PYTHONPATH", "LANG"}
        environment = {name: value for name, value in os.environ.items() if name in names}
        environment |= {
            "DATA_DIR": folder,
            "PORT": str(port),
            "WORKERS": "1",
            "ADMIN_PASSWORD": "correct horse battery",
        }
        limit = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh"]
        with subprocess.Popen(
            [*limit, sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
        ) as process:
            try:
                wait_for(lambda: ask_health(port) is not None)
                children = psutil.Process(process.pid).children()
                web = next(child for child in children if "web" in child.cmdline())
                target = Target(port, Path(folder), web, environment)
                target.token("operator")
                yield target
            finally:
                process.terminate()
                process.wait(30)


def ask_health(port: int) -> float | None:
    """Return how long an answer of /healthz takes on a new connection; None when there is none."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=LONGEST_SECONDS)
    try:
        connection.request("GET", "/healthz")
        is_well = connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
    return time.perf_counter() - start if is_well else None


class Sampler:
    """Asks /healthz and looks at the memory of the web process until it is stopped."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._sample_health), threading.Thread(target=self._sample_memory)]
        self.seconds: list[float] = []
        self.unanswered = 0
        self.before = self.peak = self.after = target.web.memory_info().rss

    def __enter__(self) -> Sampler:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        time.sleep(1)
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self.after = self._target.web.memory_info().rss

    def _sample_health(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            seconds = ask_health(self._target.port)
            if seconds is None:
                self.unanswered += 1
            self.seconds.append(LONGEST_SECONDS if seconds is None else seconds)

    def _sample_memory(self) -> None:
        while not self._stop.wait(0.02):
            self.peak = max(self.peak, self._target.web.memory_info().rss)


def measure(target: Target, function: Abuse) -> dict[str, float]:
    """Run one abuse and return its figures."""
    with Sampler(target) as sampler:
        function(target)
    cuts = quantiles(sampler.seconds, n=100, method="inclusive")
    return {
        "p50_ms": cuts[49] * 1000,
        "p99_ms": cuts[98] * 1000,
        "unanswered": sampler.unanswered,
        "before_mb": sampler.before / MEGABYTE,
        "peak_mb": sampler.peak / MEGABYTE,
        "after_mb": sampler.after / MEGABYTE,
    }


def is_within_aims(figures: dict[str, float]) -> bool:
    """Whether the aims were reached."""
    grown = (figures["peak_mb"] - figures["before_mb"]) * MEGABYTE
    return figures["p99_ms"] <= AIM_SECONDS * 1000 and grown <= AIM_BYTES and not figures["unanswered"]


def at_once(count: int, act: Callable[[int], None]) -> None:
    """Do something in many threads at the same time; what fails in one of them is no matter."""

    def act_safely(number: int) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            act(number)

    threads = [threading.Thread(target=act_safely, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def send_endlessly(client: socket.socket, piece: bytes, megabytes: int) -> None:
    """Send until all is sent or the server hangs up."""
    with contextlib.suppress(OSError):
        for _ in range(megabytes * MEGABYTE // len(piece)):
            client.sendall(piece)


@abuse
def nothing(_target: Target) -> None:
    """Do nothing, to see the machine itself."""
    time.sleep(5)


@abuse
def chunked_bodies(target: Target) -> None:
    """Send 300 MB in chunks to the page of signing in, eight at a time."""

    def send(_number: int) -> None:
        with target.connect() as client:
            client.sendall(b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n")
            send_endlessly(client, CHUNK, 300)

    for _ in range(10):
        at_once(8, send)


@abuse
def multipart_parts(target: Target) -> None:
    """Send a part of 600 MB to addresses that accept no files, as an operator, four at a time."""
    token = target.token("operator")
    part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    paths = ["/sign-in", "/schedules/new", "/events", "/queues/default/pause"]

    def send(number: int) -> None:
        head = f"POST {paths[number]} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        kind = "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
        with target.connect() as client:
            client.sendall((head + kind).encode() + b"%x\r\n%s\r\n" % (len(part), part))
            send_endlessly(client, CHUNK, 600)

    for _ in range(10):
        at_once(4, send)


@abuse
def upload(target: Target) -> None:
    """Upload two files of 400 MB at the same time, as an operator may."""
    token = target.token("operator")
    part = b'--b\r\nContent-Disposition: form-data; name="payload.source.file"; filename="f"\r\n\r\n'

    def send(_number: int) -> None:
        head = f"POST /tasks/datasets.process/run HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n"
        kind = "Content-Type: multipart/form-data; boundary=b\r\nTransfer-Encoding: chunked\r\n\r\n"
        with target.connect(timeout=60) as client:
            client.sendall((head + kind).encode() + b"%x\r\n%s\r\n" % (len(part), part))
            send_endlessly(client, CHUNK, 400)

    at_once(2, send)


def hold(target: Target, start: bytes, count: int = 400, seconds: float = 8) -> None:
    """Open many connections, begin a request on each, and hold them."""
    clients = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            client = target.connect(timeout=2)
            clients.append(client)
            client.sendall(start)
    time.sleep(seconds)
    for client in clients:
        client.close()


@abuse
def half_open_heads(target: Target) -> None:
    """Hold 400 connections in the middle of a request head."""
    hold(target, b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: ")


@abuse
def half_open_bodies(target: Target) -> None:
    """Hold 400 connections in the middle of a body."""
    hold(target, b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Content-Length: 60000\r\n\r\n" + b"a" * 30_000)


@abuse
def large_heads(target: Target) -> None:
    """Hold 400 connections that have sent almost as large a head as is accepted."""
    hold(target, b"GET /healthz HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 16_000)


@abuse
def new_connections(target: Target) -> None:
    """Open and close connections as fast as one client can, for five seconds."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        target.connect().close()


@abuse
def pipelined_requests(target: Target) -> None:
    """Send 20,000 requests at once on one connection and read no answer."""
    with target.connect(timeout=5) as client, contextlib.suppress(OSError):
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000)
        time.sleep(3)


@abuse
def tiny_chunks(target: Target) -> None:
    """Send bodies in chunks of one byte, eight at a time."""

    def send(_number: int) -> None:
        with target.connect() as client:
            client.sendall(b"POST /sign-in HTTP/1.1\r\nHost: a\r\n" + FORM + b"Transfer-Encoding: chunked\r\n\r\n")
            client.sendall(b"1\r\na\r\n" * 60_000)
            client.recv(65_536)

    for _ in range(5):
        at_once(8, send)


@abuse
def unread_answers(target: Target) -> None:
    """Ask for large answers on 60 connections and read none of them."""
    clients = []
    for _ in range(60):
        client = target.connect(timeout=0.2)
        clients.append(client)
        with contextlib.suppress(OSError):
            client.sendall(b"GET /static/vendor/idiomorph/idiomorph.esm.js HTTP/1.1\r\nHost: a\r\n\r\n" * 500)
    time.sleep(8)
    for client in clients:
        client.close()


def call(target: Target, path: str, body: bytes, role: str = "operator") -> int:
    """Send JSON with a token of this role; the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
    headers = {"Authorization": f"Bearer {target.token(role)}", "Content-Type": "application/json"}
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


@abuse
def chunked_json(target: Target) -> None:
    """Send 300 MB of JSON in chunks to calls of the API, with a token and without, eight at a time."""
    token = target.token("operator")
    paths = ["/api/v1/jobs", "/api/v1/jobs/bulk", "/api/v1/schedules", "/api/v1/events"]

    def send(number: int) -> None:
        head = f"POST {paths[number % 4]} HTTP/1.1\r\nHost: a\r\n"
        head += f"Authorization: Bearer {token}\r\n" if number < 4 else ""
        with target.connect() as client:
            client.sendall((head + "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n").encode())
            send_endlessly(client, CHUNK, 300)

    for _ in range(5):
        at_once(8, send)


@abuse
def sign_ins(target: Target) -> None:
    """Sign in 150 times at once, with another name each time, from a form that was loaded before."""
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
    connection.request("GET", "/sign-in")
    answer = connection.getresponse()
    cookie = (answer.getheader("Set-Cookie") or "").split(";")[0]
    field = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', answer.read().decode())
    connection.close()
    assert field is not None, "the page of signing in has no form"
    headers = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}

    def sign_in(number: int) -> None:
        values = {"csrf_token": field[1], "name": f"user{number}", "password": "a wrong password"}
        connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=60)
        connection.request("POST", "/sign-in", urlencode(values), headers)
        connection.getresponse().read()
        connection.close()

    for _ in range(5):
        at_once(150, sign_in)


@abuse
def large_payloads(target: Target) -> None:
    """Enqueue jobs with payloads of almost a megabyte that take long to check, eight at a time, as an operator."""
    nodes = {"rows": [{"n": n, "https://": "a=b"} for n in range(28_000)]}
    payloads = [
        nodes,
        {"text": "lorem ipsum password: " * 45_000},
        {"rows": [1] * 450_000},
        {f"k{n}": "" for n in range(70_000)},
    ]
    bodies = [json.dumps({"task": "samples.sleep", "payload": one}, separators=(",", ":")).encode() for one in payloads]
    for _ in range(2):
        at_once(8, lambda number: call(target, "/api/v1/jobs", bodies[number % 4]))


@abuse
def bulk_values(target: Target) -> None:
    """Send bulk calls with about as many keys and values as are accepted, four at a time, as an operator."""
    keys = b'{"jobs":[{' + b",".join(b'"k%d":""' % n for n in range(240_000)) + b"}]}"
    texts = b'{"jobs":[' + b'"abcdefghijk",' * 480_000 + b'""]}'
    at_once(4, lambda number: call(target, "/api/v1/jobs/bulk", keys if number % 2 else texts))


@abuse
def bulk_jobs(target: Target) -> None:
    """Enqueue 30,000 jobs in three bulk calls at the same time, as an operator may."""
    job = b'{"task": "samples.noop", "payload": {"note": "%s"}, "delay_seconds": 80000}' % (b"a" * 100)
    at_once(3, lambda _number: call(target, "/api/v1/jobs/bulk", b'{"jobs": [' + b",".join([job] * 10_000) + b"]}"))


@abuse
def bulk_calls(target: Target) -> None:
    """Send bulk calls of 8 MB that are refused for their contents, six at a time, as an operator."""
    body = b'{"jobs": [' + b",".join([b'{"task": "no.such", "payload": {"t": "%s"}}' % (b"a" * 770)] * 9_800) + b"]}"
    for _ in range(2):
        at_once(6, lambda _number: call(target, "/api/v1/jobs/bulk", body))


def main() -> None:
    """Run the abuses that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all when none is named")
    parser.add_argument(
        "--rounds", type=int, default=1, help="how often each is run; the round with the best p99 counts"
    )
    parser.add_argument("--open-files", type=int, default=256, help="the limit of open files that Taskyard starts with")
    parser.add_argument("--list", action="store_true", help="print what there is")
    arguments = parser.parse_args()
    if arguments.list:
        sys.stdout.writelines(f"{name:20} {(function.__doc__ or '').strip()}\n" for name, function in ABUSES.items())
        return
    unknown = set(arguments.names) - set(ABUSES)
    if unknown:
        parser.error(f"no such abuse: {', '.join(sorted(unknown))}. Use --list.")
    figures: dict[str, float] = {}
    with running(arguments.open_files) as target:
        for name in arguments.names or ABUSES:
            rounds = [measure(target, ABUSES[name]) for _ in range(arguments.rounds)]
            best = min(rounds, key=lambda one: one["p99_ms"])
            figures |= {f"{name}_{key}": value for key, value in best.items()}
            mark = "ok" if is_within_aims(best) else "MISSED"
            shown = "  ".join(f"{key.replace('_', ' ')} {value:,.0f}" for key, value in best.items())
            sys.stdout.write(f"{name:20} {mark:7} {shown}\n")
            sys.stdout.flush()
    tell("abuse", figures)


if __name__ == "__main__":
    main()
