"""Names of secrets: told by the whole words of a key, however it is spelled (`apiKey`, `API-KEY`, `api_key`)."""

from __future__ import annotations

import itertools
import re
from functools import lru_cache

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_LONGEST_KEY = 200

# Secret wherever they stand in a key, unless what follows says that only something about them is meant.
_ALWAYS = frozenset(
    "password passwords passwd passphrase passcode pwd pw secret secrets jwt bearer authorization credential credentials "
    "cookie cookies cvv cvc apikey privatekey secretkey accesskey authkey sessionid sessionkey authtoken accesstoken "
    "refreshtoken idtoken csrftoken pgpassword mysqlpwd".split()
)
# Secret when they end a key.
_LAST = frozenset("token auth pin signature otp pass session sid csrf xsrf totp mfa".split())
_PAIRS = frozenset(
    {
        ("api", "key"),
        ("access", "key"),
        ("private", "key"),
        ("secret", "key"),
        ("signing", "key"),
        ("encryption", "key"),
        ("auth", "key"),
        ("session", "id"),
        ("session", "key"),
        ("shared", "key"),
        ("account", "key"),
        ("service", "key"),
        ("card", "number"),
        ("pass", "word"),
        ("pass", "phrase"),
        ("pass", "code"),
        ("pass", "wd"),
    }
)
_ABOUT = frozenset(
    "count counts length len size limit limits max min type types kind name names date at expires expiry expired age "
    "policy rule rules required enabled strength attempts valid field fields ttl hint changed updated created label".split()
)
# Words behind a name that still mean the thing itself.
_ITSELF = frozenset("hash hashed value values header text string plain encrypted old new current data raw".split())
_ENDINGS = ("password", "passwd", "passphrase", "passcode", "secret", "apikey", "secretkey", "accesstoken", "authtoken")
_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})


@lru_cache(maxsize=4096)
def is_secret(key: str) -> bool:
    """Return whether a value under this key must not be shown."""
    words = [word.lower() for word in _WORD.findall(key[:_LONGEST_KEY])]
    if not words or words[-1] in _ABOUT:
        return False
    while len(words) > 1 and words[-1] in _ITSELF:
        words.pop()
    if any(word in _ALWAYS or word.endswith(_ENDINGS) for word in words):
        return True
    if words[-1] in _LAST:
        return True
    return any(pair in _PAIRS for pair in itertools.pairwise(words))


def is_header(name: str) -> bool:
    """Return whether this is the name of an HTTP header that carries a credential."""
    lower = name.lower()
    return lower in _HEADERS or ("-" in name and len(name) <= _LONGEST_KEY and is_secret(name))
