"""Which addresses of Redis can be used, and what is said of the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.broker.connection import connect
from workers.broker.names import RedisNames
from workers.domain.errors import SettingsError
from workers.domain.redis_url import check_redis_url
from workers.settings import Settings

NAMES = RedisNames(lambda: "0a1b")
USABLE = [
    "redis://localhost", "redis://localhost:6379/0", "redis://:secret@10.0.0.1:6379/15", "rediss://user:p%40ss@[::1]:6380/2",
    "redis://cache:6379/0?socket_timeout=3", "unix:///run/redis.sock", "unix://user:secret@/run/redis.sock?db=3",
]  # fmt: skip
UNUSABLE = {
    "redis+sentinel://a:26379,b:26379/mymaster": "Sentinel",
    "sentinel://a:26379": "Sentinel",
    "redis-sentinel://a:26379": "Sentinel",
    "redis+cluster://a:7000": "Cluster",
    "localhost:6379": "Write redis://localhost:6379.",
    "localhost": "Write redis://localhost.",
    "10.0.0.1:6379/2": "Write redis://10.0.0.1:6379/2.",
    "[::1]:6379": "Write redis://[::1]:6379.",
    "valkey://localhost": "redis://host",
    "http://localhost:6379": "redis://host",
    ":secret@localhost:6379": "redis://host",
    "redis:localhost:6379": "redis://host",
    "redis://localhost:notaport": "port",
    "redis://localhost:70000": "port",
    "redis://:pa/ss@localhost:6379": "%2F",
    "redis://:pa#ss@localhost:6379": "%23",
    '"redis://localhost"': "redis://host",
    "redis://local host": "space",
    "redis://localhost/cache": "number of the database",
    "redis://localhost/0/1": "number of the database",
    "redis://localhost?db=x": "db",
    "unix://redis.sock": "absolute path",
    "unix://": "absolute path",
}


@pytest.mark.parametrize("url", USABLE)
def test_an_address_that_can_be_used_is_taken(url: str) -> None:
    connect(Settings.from_env({"REDIS_URL": url}), NAMES).close()


@pytest.mark.parametrize("url", UNUSABLE)
def test_an_address_that_cannot_be_used_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.from_env({"REDIS_URL": url})
    assert str(refused.value).startswith("REDIS_URL ")
    assert UNUSABLE[url] in str(refused.value)
    assert "secret" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


@pytest.mark.parametrize("option", ["colour=blue", "socket_timeout=soon", "ssl_cert_reqs=none"])
def test_an_option_that_does_not_exist_is_refused(option: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL has an invalid option"):
        connect(Settings.from_env({"REDIS_URL": f"redis://localhost?{option}"}), NAMES)


@given(st.text(max_size=60), st.sampled_from(["", "redis://", "rediss://", "unix://", "redis+sentinel://"]))
def test_any_text_makes_a_client_or_is_refused(text: str, scheme: str) -> None:
    try:
        check_redis_url(scheme + text)
        client = connect(Settings(redis_url=scheme + text), NAMES)
    except SettingsError:
        return
    client.close()
