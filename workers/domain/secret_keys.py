"""Which names hold secrets: decided by the whole words of a name, never by letters within a word.

`api_key`, `apiKey`, `X-Api-Key`, `PGPASSWORD` and `sessionid` are secret; `nTokens`, `signature_date`, `author` and
`keyboard` are not.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

LONGEST_NAME = 200
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Words, or two adjacent words written together, that make a name secret.
_SECRET = _set(
    """password passwords passwd passwds pwd pwds pw pass passphrase passphrases passcode passcodes passkey passwort
    kennwort contrasena contraseña senha пароль 密码 secret secrets token tokens auth oauth authorization authorisation
    authentication bearer jwt jwts cookie cookies session sessionid sessid sessionkey phpsessid jsessionid credential
    credentials cred creds signature signatures cvv cvc cvn otp totp hotp pin pincode csrf xsrf hmac apikey apikeys
    privatekey privatekeys secretkey secretkeys accesskey accesskeys encryptionkey signingkey masterkey authkey accountkey
    servicekey sharedkey sshkey gpgkey pgpkey aeskey licensekey licencekey storagekey subscriptionkey consumerkey appkey
    applicationkey cipherkey cryptokey decryptionkey rootkey adminkey deploykey webhookkey clientkey serverkey sslkey
    tlskey integrationkey accesscode authcode authorizationcode verificationcode securitycode recoverycode recoverycodes
    backupcode backupcodes resetcode mfacode smscode logincode cardnumber creditcard ccnumber sharedaccesssignature"""
)
# Stems that make a longer lower-case word secret, such as `dbpassword` or `clientsecret`.
_STEMS = re.compile(
    r"(?:password|passwd|passphrase|passcode|secretkey|apikey|privatekey|accesskey|sessid|sessionid|credential"
    r"|authtoken|accesstoken|refreshtoken|bearertoken|apitoken|idtoken|csrftoken|logintoken|sessiontoken|usertoken)s?$"
    r"|^(?:password|passwd|passphrase|apikey|authtoken|accesstoken)|(?:client|app|shared|api|user|web|hook)secrets?$"
    r"|(?:db|my|user|smtp|mail|root|admin|login|my|sql|ftp)(?:pass|pwd|pw)$"
)
_NO_STEMS = _set("passwordless passwordlessly")
# A name that ends with one of these tells about a secret and holds none.
_ABOUT = _set(
    """count counts limit limits length len size sizes type types kind kinds name names url uri path paths file filename
    files policy policies expires expire expiry expiration expired expiring at ttl age date dates day days time times
    timeout timestamp status state states strength version versions algorithm alg method methods rotation required
    enabled disabled changed updated created valid verified invalid rules rule min max rate rates cost costs price usage
    budget index window ratio percent threshold provider providers scheme mode level server host user username email
    realm domain backend endpoint issuer audience role roles scope scopes consent banner accepted area areas digits
    page pages title format per number num n used left remaining manager store lifetime minutes seconds hours ms
    attempts tries through fail failed failures grade mark marks prompt field fields column columns class position"""
)
# A name whose secret word follows one of these counts or describes something.
_BEFORE = {
    "token": _set(
        """n num number max min total count prompt completion input output cached avg mean stop eos bos pad special
        reasoning sentence word mask cls sep unk next first last cancellation lexer"""
    ),
    "pass": _set(
        "boarding bus ski season first second third single multi one two low high band by all no test did will n num"
    ),
    "pin": _set("gpio led data clock reset map tx rx io analog digital input output cs"),
    "signature": _set("time method function type key dish"),
    "session": _set("n num max min total training study conference"),
    "code": frozenset(),
}
_BEFORE["tokens"] = _BEFORE["token"] | _set("used of per")
_BEFORE["signatures"] = _BEFORE["signature"]
# Words that often stand for numbers, lists or plain facts: a number beside them is no secret.
WEAK = _set("tokens pass auth oauth session signature signatures authentication cookie cookies secrets")


def words_of(name: str) -> list[str]:
    """Split a name at changes of case, digits, `_`, `-`, `.` and spaces; in lower case."""
    text = name if name.isascii() else unicodedata.normalize("NFKC", name)
    return [word.lower() for word in _WORDS.findall(text.replace("OAuth", "Oauth"))]


def is_secret(name: str) -> bool:
    """Return whether a value under this name must not be shown."""
    return _verdict(name[:LONGEST_NAME])[0]


def is_weak(name: str) -> bool:
    """Return whether the name is secret by words that often stand for numbers and plain facts only."""
    return _verdict(name[:LONGEST_NAME])[1]


def is_count(name: str) -> bool:
    """Return whether a number under this secret name is one that people count by: `tokens: 512`, `pass: 3`."""
    words = words_of(name[:LONGEST_NAME])
    return words == ["pass"] or words[-1:] in (["tokens"], ["session"], ["sessions"])


@lru_cache(maxsize=8192)
def _verdict(name: str) -> tuple[bool, bool]:
    words = words_of(name)
    while len(words) > 1 and words[-1].isdigit():
        words.pop()
    found = [word for index, word in enumerate(words) if _is_secret_word(words, index)]
    pairs = [one + two for one, two in pairwise(words)]
    found += [pair for pair in pairs if pair in _SECRET]
    is_about = bool(pairs) and words[-1] in _ABOUT and pairs[-1] not in _SECRET
    if not found or is_about:
        return False, False
    return True, all(word in WEAK for word in found)


def _is_secret_word(words: list[str], index: int) -> bool:
    word = words[index]
    if index and words[index - 1] in _BEFORE.get(word, ()):
        return False
    if word in {"token", "credential"} and words[-1] in {"id", "ids"}:
        # A token's public identifier; `id_token` and `session_id` are the secrets themselves.
        return False
    return word in _SECRET or (word not in _NO_STEMS and bool(_STEMS.search(word)))
