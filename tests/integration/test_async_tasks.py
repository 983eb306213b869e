"""Async tasks in a real worker: one loop for all jobs of a child, limits and cancels as for any task."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.conftest import running_worker
from tests.support import eventually
from workers import loading, registry
from workers.domain.actors import Actor
from workers.services import jobs, publishing
from workers.services.enqueueing import NewJob
from workers.store import jobs as rows
from workers.store import logs
from workers.yard import Yard

MODULE = "tests.integration.async_tasks"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = f"answer to {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)


@pytest.fixture
def server() -> Iterator[_Server]:
    running = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def async_yard(light_yard: Yard) -> Iterator[Yard]:
    loading.load_modules((MODULE,))
    publishing.publish(light_yard, registry.REGISTRY)
    with running_worker(light_yard, TASK_MODULES=MODULE):
        yield light_yard


def run(yard: Yard, task: str, payload: dict[str, Any] | None = None, **options: Any) -> str:
    return jobs.enqueue(yard, NewJob(f"async_tasks.{task}", payload or {}, **options)).job_id


def reaches(yard: Yard, job_id: str, status: str) -> Any:
    found: list[Any] = []

    def there() -> None:
        with yard.database.read() as connection:
            found[:] = [rows.get(connection, job_id)]
        assert found[0]["status"] == status, (found[0]["status"], found[0]["error"])

    eventually(there, within=60)
    return found[0]


def test_a_client_made_at_import_works_for_the_hundredth_job_on_one_connection(
    async_yard: Yard, server: _Server
) -> None:
    base = f"http://127.0.0.1:{server.server_port}"
    made = [run(async_yard, "fetch", {"url": f"{base}/{number}"}) for number in range(100)]
    results = [json.loads(reaches(async_yard, one, "completed")["result"]) for one in made]
    assert [one["text"] for one in results] == [f"answer to /{number}" for number in range(100)]
    assert server.connections <= 2 * len({one["pid"] for one in results})


def test_what_a_job_leaves_running_is_canceled_with_a_line_in_its_log(async_yard: Yard) -> None:
    made = [run(async_yard, "leave_running") for _ in range(3)]
    assert [reaches(async_yard, one, "completed")["result"] for one in made] == ["0", "0", "0"]
    with async_yard.database.read() as connection:
        lines = [line["line"] for line in logs.page(connection, made[0], limit=10)]
    assert lines == ["1 asyncio task was still running when the job ended and canceled: sleep"]


def test_a_time_limit_ends_an_async_task(async_yard: Yard) -> None:
    made = run(async_yard, "wait", {"listens": False}, timeout_seconds=1)
    assert reaches(async_yard, made, "failed")["error"] == "Task timeout - exceeded 1 second limit"


@pytest.mark.parametrize("listens", [True, False])
def test_a_cancel_ends_an_async_task_and_the_next_job_runs(
    async_yard: Yard, operator: Actor, server: _Server, listens: bool
) -> None:
    made = run(async_yard, "wait", {"listens": listens})
    reaches(async_yard, made, "processing")
    jobs.cancel(async_yard, made, operator)
    reaches(async_yard, made, "canceled")
    after = run(async_yard, "fetch", {"url": f"http://127.0.0.1:{server.server_port}/after"})
    reaches(async_yard, after, "completed")
