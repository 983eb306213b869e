"""What a list of jobs costs at the server by the size of the history: `python -m bench.pages`.

Milliseconds of one request through the whole application (session or token, role, SQL, template), the median of many.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

from flask.testing import FlaskClient

from bench._common import tell, yard
from bench._history import fill
from dashboard.factory import create_app
from tests.support import sign_in
from workers.domain.actors import Actor
from workers.services import tokens, users

ROUNDS = 40
PASSWORD = "a password for the bench"
SYSTEM = Actor("system", "bench", "admin")
PLACES = {
    "page": "/jobs?limit=100",
    "page_failed": "/jobs?limit=100&status=failed",
    "page_rare_queue": "/jobs?limit=100&queue=rare&status=failed",
    "overview": "/",
    "api": "/api/v1/jobs?limit=100",
    "api_failed": "/api/v1/jobs?limit=100&status=failed",
    "api_family": "/api/v1/jobs?limit=100&task=samples.*&queue=emails",
}


def milliseconds(call: Callable[[], int]) -> float:
    """Measure a request: the median of many after a few to warm up."""
    times = []
    for n in range(ROUNDS + 3):
        start = time.perf_counter()
        assert call() == 200
        if n >= 3:
            times.append(time.perf_counter() - start)
    return median(times) * 1000


def measure(client: FlaskClient, header: dict[str, str], name: str, path: str) -> float:
    """Measure one address, as a person or as a program."""
    headers = header if name.startswith("api") else {}
    return milliseconds(lambda: client.get(path, headers=headers).status_code)


def deep(client: FlaskClient, header: dict[str, str], size: int) -> str:
    """Find the cursor of a page in the middle of the history."""
    answer = client.get("/api/v1/jobs", query_string={"limit": 1, "until": "15d"}, headers=header)
    cursor = answer.json["next_cursor"] if answer.json else None
    assert cursor, f"no page in the middle of {size}"
    return str(cursor)


def main() -> None:
    """Measure at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 100_000, 1_000_000])
    wanted = parser.parse_args()
    figures: dict[str, float] = {}
    with yard() as opened:
        users.add(opened, "ada", "admin", PASSWORD, SYSTEM)
        header = {"Authorization": f"Bearer {tokens.create(opened, 'bench', 'admin', None, SYSTEM)}"}
        client = create_app(opened.settings, opened).test_client()
        assert sign_in(client, "ada", PASSWORD).status_code == 303
        for size in wanted.sizes:
            fill(opened, size)
            cursor = deep(client, header, size)
            places = PLACES | {
                "page_deep": f"/jobs?limit=100&cursor={cursor}",
                "api_deep": f"/api/v1/jobs?limit=100&cursor={cursor}",
            }
            for name, path in places.items():
                figures[f"{name}_{size}_ms"] = measure(client, header, name, path)
    tell("pages", figures)


if __name__ == "__main__":
    main()
