"""What every use case needs, in one hand: the settings, the database, Redis and the live channel."""

from __future__ import annotations

from dataclasses import dataclass, field

from workers.broker.connection import QuickRedis, connect
from workers.broker.live import LivePublisher
from workers.broker.pusher import Pusher
from workers.settings import Settings
from workers.store.database import Database


@dataclass(frozen=True, slots=True)
class Yard:
    """A way into one Taskyard; opened once a process, closed at its end."""

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
        redis = connect(settings)
        return cls(settings, database or Database.open(settings.database_url), redis, LivePublisher(redis))

    def close(self) -> None:
        """Send what is still to be pushed, then close every connection."""
        self.pusher.flush()
        self.redis.close()
        self.database.close()
