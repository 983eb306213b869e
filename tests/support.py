"""What tests of every floor share."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def eventually(assertion: Callable[[], object], within: float = 30.0, every: float = 0.05) -> None:
    """Call the assertion until it holds; its last failure is raised when the time is over."""
    until = time.monotonic() + within
    while True:
        try:
            assertion()
            return
        except (AssertionError, LookupError, OSError, StopIteration):
            if time.monotonic() >= until:
                raise
            time.sleep(every)


@contextmanager
def repeated(call: Callable[[], object], every: float) -> Iterator[None]:
    """Call something every so many seconds, in a thread, until the block ends."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(every):
            call()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def sign_in(client: Any, name: str, password: str, **fields: str) -> Any:
    """Sign in with a Flask test client as a browser does: with the token of the form."""
    page = client.get("/sign-in").text
    token = page.split('name="csrf_token" value="', 1)[1].split('"', 1)[0]
    return client.post("/sign-in", data={"name": name, "password": password, "csrf_token": token, **fields})


def free_port() -> int:
    """Find a port on loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
