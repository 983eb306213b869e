"""A TCP proxy of the tests' Valkey whose connections can fall silent, as those of a host that lost its power do."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

from tests.support import eventually


class RedisProxy:
    """Forwards each connection to a Unix socket until it is stalled: then its connections stay open and silent."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._generation = 0
        self._is_closed = self._is_hanging = False
        self._lock = threading.Lock()
        self._open: Counter[int] = Counter()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """The address for REDIS_URL."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def stall(self) -> None:
        """Stop forwarding on every connection that is open now: Valkey sees them closed, clients see nothing."""
        stalled = self._generation
        self._generation += 1

        def is_silent() -> None:
            assert not any(count for generation, count in self._open.items() if generation <= stalled)

        eventually(is_silent)

    def hang(self) -> None:
        """Let nobody through any more: connections that are open fall silent, new ones are accepted and stay silent."""
        self._is_hanging = True
        self.stall()

    def resume(self) -> None:
        """Forward new connections again; those that were silent are closed."""
        self._is_hanging = False

    def close(self) -> None:
        """Stop accepting and forwarding."""
        self._is_closed = True
        self._generation += 1
        self._listener.close()

    def _accept(self) -> None:
        while not self._is_closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client, self._generation), daemon=True).start()

    def _forward(self, client: socket.socket, generation: int) -> None:
        with client:
            if self._is_hanging:
                self._stay_silent()
                return
            with self._lock:
                self._open[generation] += 1
            with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
                server.connect(self._target)
                self._copy(client, server, generation)
            with self._lock:
                self._open[generation] -= 1
            while generation != self._generation and not self._is_closed:
                time.sleep(0.1)

    def _stay_silent(self) -> None:
        while self._is_hanging and not self._is_closed:
            time.sleep(0.1)

    def _copy(self, client: socket.socket, server: socket.socket, generation: int) -> None:
        other = {client: server, server: client}
        while generation == self._generation:
            readable, _, _ = select.select(list(other), [], [], 0.05)
            for one in readable:
                data = one.recv(65_536)
                if not data:
                    return
                other[one].sendall(data)


@contextlib.contextmanager
def redis_proxy(target: str) -> Iterator[RedisProxy]:
    """Run a proxy until the block ends."""
    proxy = RedisProxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
