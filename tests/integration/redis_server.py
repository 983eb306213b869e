"""A Valkey of a test's own, apart from any Taskyard."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from redis import Redis

from tests.support import eventually
from workers.broker.embedded import EmbeddedValkey
from workers.settings import Settings


class RedisServer:
    """One server behind a Unix socket, with users and settings that the test may change."""

    def __init__(self, settings: Settings) -> None:
        self.socket = settings.valkey_socket
        self.admin = Redis.from_url(settings.effective_redis_url)

    def url(self, user: str = "", database: int = 0) -> str:
        """The address for REDIS_URL; `user` is `name:password`."""
        return f"unix://{user}{'@' if user else ''}{self.socket}?db={database}"

    def allow(self, rights: str) -> str:
        """Make a user with these rights; the address with which it connects."""
        self.admin.execute_command("ACL", "SETUSER", "shop", "reset", "on", ">sesame", *rights.split())
        return self.url("shop:sesame")


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a server until the block ends."""
    with tempfile.TemporaryDirectory(prefix="ty-") as folder:
        settings = Settings.from_env({"DATA_DIR": folder})
        valkey = EmbeddedValkey(settings)
        valkey.prepare()
        with subprocess.Popen(valkey.command(), stdout=subprocess.DEVNULL) as process:

            def is_up() -> None:
                assert valkey.answers()

            eventually(is_up, within=10)
            server = RedisServer(settings)
            try:
                yield server
            finally:
                server.admin.close()
                process.kill()
