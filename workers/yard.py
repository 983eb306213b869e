"""What every use case needs, in one hand: the settings, the database, Redis and the live channel."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from workers.broker.connection import QuickRedis, connect
from workers.broker.live import LivePublisher
from workers.broker.names import RedisNames
from workers.broker.pusher import Pusher
from workers.settings import Settings
from workers.store import installation
from workers.store.database import Database


@dataclass(frozen=True, slots=True)
class Yard:
    """A way into one Taskyard; opened once a process, closed at its end. `redis.names` are its names in Redis."""

    settings: Settings
    database: Database
    redis: QuickRedis
    live: LivePublisher
    pusher: Pusher = field(init=False)

    def __post_init__(self) -> None:
        """Make what goes with this client of Redis."""
        object.__setattr__(self, "pusher", Pusher(self.redis))

    @classmethod
    def open(cls, settings: Settings, database: Database | None = None) -> Yard:
        """Open the parts that the settings name; nothing is connected yet."""
        database = database or Database.open(settings.database_url)
        redis = connect(settings, RedisNames(partial(installation.read_id, database)))
        return cls(settings, database, redis, LivePublisher(redis))

    def close(self) -> None:
        """Send what is still to be pushed, then close every connection."""
        self.pusher.flush()
        self.redis.close()
        self.database.close()
