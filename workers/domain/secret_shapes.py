"""Values that are secret by their shape, under whatever name they stand: tokens, keys, passwords in addresses.

Every pattern takes time that grows linearly with the text: runs of letters are matched possessively and begin only where
a run begins.
"""

from __future__ import annotations

import re

MASK = "••••••"
_EDGE = r"(?<![A-Za-z0-9_])"
_ENDS = r"(?![A-Za-z0-9_])"
# Prefixes that issuers give their tokens, with the letters that follow.
_ISSUED = (
    r"(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AROA)[A-Z0-9]{16}" + _ENDS,
    r"gh[pousr]_[A-Za-z0-9]{16,}",
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"gl(?:pat|rt|ptt|dt|cbt|ft|soat|imt|oas|agent)-[A-Za-z0-9_-]{16,}",
    r"(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{8,}",
    r"whsec_[A-Za-z0-9+/=_-]{16,}",
    r"ty_[A-Za-z0-9_-]{30,}",
    r"AIza[A-Za-z0-9_-]{30,}",
    r"ya29\.[A-Za-z0-9_-]{20,}",
    r"GOCSPX-[A-Za-z0-9_-]{20,}",
    r"xox[a-z]-[A-Za-z0-9-]{8,}",
    r"xapp-[A-Za-z0-9-]{10,}",
    r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
    r"(?:npm|hf|lin_api|pnu|shpat|shpca|shppa|shpss|dop_v1|doo_v1|ntn|nvapi)_[A-Za-z0-9]{20,}",
    r"pypi-[A-Za-z0-9_-]{30,}",
    r"sk-[A-Za-z0-9_-]{20,}",
    r"sq0[a-z]{3}-[A-Za-z0-9_-]{20,}",
    r"dapi[0-9a-f]{32}",
    r"hv[sb]\.[A-Za-z0-9_-]{20,}",
    r"ATATT3[A-Za-z0-9_=-]{40,}",
    r"AGE-SECRET-KEY-1[A-Z0-9]{20,}",
    r"key-[0-9a-f]{32}" + _ENDS,
    r"[0-9a-f]{32}-us\d{1,2}" + _ENDS,
    r"\d{8,10}:AA[A-Za-z0-9_-]{30,}",
)
PREFIXES = (
    "AKIA ASIA ABIA ACCA AGPA AIDA AROA ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- glrt- glptt- gldt- glcbt- glft- glsoat- "
    "glimt- gloas- glagent- _live_ _test_ whsec_ ty_ AIza ya29. GOCSPX- xox xapp- SG. npm_ hf_ lin_api_ pnu_ shp dop_v1_ "
    "doo_v1_ ntn_ nvapi_ pypi- sk- sq0 dapi hvs. hvb. ATATT3 AGE-SECRET-KEY-1 key- -us :AA"
).split()
_HINTED = re.compile("|".join(map(re.escape, PREFIXES)))
_TOKEN = re.compile(_EDGE + "(?:" + "|".join(_ISSUED) + ")")
_JWT = re.compile(r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+(?:\.[A-Za-z0-9_-]{4,}+){1,4}")
_HASH = re.compile(r"\$(?:2[abxy]?|argon2(?:id|i|d)|scrypt|pbkdf2[a-z0-9-]{0,12}|[156]|y)\$[A-Za-z0-9./+=,$-]{20,}+")
_BEARER = re.compile(
    r"(?i)(?<![a-z0-9_-])(bearer|basic|negotiate|apikey|splunk|sharedaccesssignature)([ \t]+)([a-z0-9._~+/%=-]{6,}+)"
)
_SCHEMES = re.compile(r"(?i)[rckyt][ \t]")
_PROSE = frozenset(
    """authentication authorization authorisation credentials scheme schemes realm format header headers token tokens
    required invalid missing expired security access methods method support requests request""".split()
)
_PEM = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PEM_BODY = re.compile(r"(?:[A-Za-z0-9+/=\s]|\\[nr]|•)*+")
_PEM_END = re.compile(r"-----END [A-Z0-9 ]{0,60}-----")
_WEBHOOKS = (
    ("hooks.slack.com", re.compile(r"(?i)(hooks\.slack\.com/(?:services|workflows|triggers)/)([^\s\"'<>?#]+)")),
    ("discord", re.compile(r"(?i)(discord(?:app)?\.com/api/(?:v\d{1,3}/)?webhooks/)([^\s\"'<>?#]+)")),
    ("webhook.office.com", re.compile(r"(?i)(webhook\.office\.com/)([^\s\"'<>?#]+)")),
    ("outlook.office", re.compile(r"(?i)(outlook\.office(?:365)?\.com/webhook/)([^\s\"'<>?#]+)")),
    ("api.telegram.org", re.compile(r"(?i)(api\.telegram\.org/(?:file/)?bot)([^\s\"'<>?#/]+)")),
    ("hooks.zapier.com", re.compile(r"(?i)(hooks\.zapier\.com/hooks/)([^\s\"'<>?#]+)")),
    ("maker.ifttt.com", re.compile(r"(?i)(maker\.ifttt\.com/[^\s\"'<>?#]{0,200}?/key/)([^\s\"'<>?#]+)")),
    ("chat.googleapis.com", re.compile(r"(?i)(chat\.googleapis\.com/v1/spaces/)([^\s\"'<>#]+)")),
    ("events.pagerduty", re.compile(r"(?i)(events\.pagerduty\.com/integration/)([^\s\"'<>?#/]+)")),
    ("/hooks/", re.compile(r"(/hooks/)([A-Za-z0-9_-]{20,}+)")),
)
# Addresses of Apprise that are nothing but credentials.
_APPRISE = re.compile(
    r"(?i)(?<![a-z0-9+.-])((?:slack|discord|msteams|workflows?|tgram|pover|pbul|ifttt|rocket|mmosts?|sendgrid|pagerduty"
    r"|opsgenie|twilio|gchat|webexteams|zulip|ntfys?|gotifys?|signals?|prowl|join|notifiarr|spush|simplepush)://)([^\s\"'<>]+)"
)
_RUN = 2_000  # characters that an address is looked at
_AUTHORITY_ENDS = re.compile(r"[/?#\s\"'<>\\]")
_SPACE = re.compile(r"[\s<>]")
_PORT = re.compile(r"\d{0,5}$")
_LONG_USER = re.compile(r"(?=[^@]*\d)[A-Za-z0-9_-]{20,}+$")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,30}$")


def mask_shapes(text: str) -> str:
    """Replace whatever has the shape of a credential; the same text when there is nothing."""
    if len(text) < 8:
        return text
    if "://" in text:
        text = _mask_addresses(text)
    if "eyJ" in text:
        text = _JWT.sub(MASK, text)
    if _HINTED.search(text):
        text = _TOKEN.sub(MASK, text)
    if "$" in text:
        text = _HASH.sub(MASK, text)
    if "PRIVATE KEY" in text:
        text = _mask_keys(text)
    if _SCHEMES.search(text):
        text = _BEARER.sub(_bearer, text)
    return text


def _bearer(found: re.Match[str]) -> str:
    scheme, gap, value = found[1], found[2], found[3]
    is_word = value.rstrip(".-").lower() in _PROSE
    # `Basic` and its like are words of prose too: what follows must look encoded.
    is_plain = (
        (scheme.lower() != "bearer" or scheme.islower())
        and (value.islower() or value.istitle())
        and value.rstrip(".").isalpha()
    )
    return found[0] if is_word or is_plain else f"{scheme}{gap}{MASK}"


def _mask_keys(text: str) -> str:
    parts: list[str] = []
    place, last = 0, text.rfind("-----END ")
    while begin := _PEM.search(text, place):
        body = _PEM_BODY.match(text, begin.end())
        ends = body.end() if body else begin.end()
        foot = None
        if begin.end() <= last:
            closing = text.find("-----END ", begin.end())
            foot = _PEM_END.match(text, closing)
            ends = foot.end() if foot else ends
        parts += [text[place : begin.end()], MASK, foot[0] if foot else ""]
        place = ends
    return "".join([*parts, text[place:]])


def _mask_addresses(text: str) -> str:
    text = _APPRISE.sub(rf"\1{MASK}", text)
    lower = text.lower()
    for hint, pattern in _WEBHOOKS:
        if hint in lower:
            text = pattern.sub(rf"\1{MASK}", text)
    return _mask_users(text) if "@" in text else text


def _mask_users(text: str) -> str:
    parts: list[str] = []
    place = 0
    while (mark := text.find("://", place)) >= 0:
        start = mark + 3
        span = _password(text, start) if _SCHEME.search(text, max(place, mark - 31), mark) else None
        if span is None:
            parts.append(text[place:start])
            place = start
        else:
            parts += [text[place : span[0]], MASK]
            place = span[1]
    return "".join([*parts, text[place:]])


def _password(text: str, start: int) -> tuple[int, int] | None:
    """Find where the password of an address stands that begins behind its `://`."""
    last = min(len(text), start + _RUN)
    end = _AUTHORITY_ENDS.search(text, start, last)
    authority = text[start : end.start() if end else last]
    at = authority.rfind("@")
    colon = authority.find(":")
    if at < 0 and colon >= 0 and not authority.startswith("[") and not _PORT.match(authority, colon + 1):
        # A password with a slash, a question mark or a quote in it: what follows the colon is no port.
        space = _SPACE.search(text, start, last)
        at = text.rfind("@", start, space.start() if space else last) - start
    if at < 0:
        return None
    if 0 <= colon < at:
        return (start + colon + 1, start + at) if at > colon + 1 else None
    return (start, start + at) if _LONG_USER.match(authority[:at]) else None
