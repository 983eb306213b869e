"""The masker: which names and shapes are secret, which data stays as it is, and what it costs."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.domain.masking import MASK, JobMasker, is_secret, mask, mask_result, mask_text, mask_url, may_hold_secrets

SECRET = "hunter2xyz"
SECRET_NAMES = """password passwd pw pwd passphrase passcode pass secret token auth authorization bearer jwt cookie session
    sessionid sessionId session_id SESSION-ID credential credentials creds api_key apiKey API_KEY X-Api-Key apikey api.key
    private-key privateKey webhook-signature x_signature cvv cvc password_hash passwordHash access_key accessKey2
    client_secret clientSecret otp pin pin_code id_token refresh_token accessToken PGPASSWORD MYSQL_PWD dbpassword
    db.password SMTP_PASS card_number aws_secret_access_key PassWord oauth_token OAuthToken Set-Cookie
    Proxy-Authorization csrf_token user_pass new_password password_confirmation password2 accountKey userPW
    verification_code ｐａｓｓｗｏｒｄ Kennwort contraseña пароль""".split()
HARMLESS_NAMES = """nTokens n_tokens max_tokens maxTokens token_count tokens_used total_tokens prompt_tokens
    completionTokens token_type tokenExpiresAt pin_code_area gpio_pin spin spinner author author_id authors authority
    authored signature_date passenger passengers passing encounter bypass compass monkey keyboard key keys key_id
    public_key idempotency_key primary_key sort_key secretary secret_name tokenizer tokenized session_count
    password_policy password_changed_at passwordless pass_count pass_rate boarding_pass auth_type cookie_policy
    status_code postal_code code hash salt opinion name user expires_at""".split()

TEXTS = [
    "password={}",
    "password: {}",
    'password = "{}"',
    "password = 'my {} here'",
    'password = "a \\"quoted {}\\" one {}"',
    "password='''two\n{}'''",
    "password='{}",
    "--password {}",
    "--token={}",
    "['--password', '{}']",
    "PGPASSWORD={} psql",
    "Authorization: Bearer {}",
    "authorization: Basic {}==",
    'curl -H "Authorization: Bearer {}" http://x',
    "Cookie: a=b; session={}; q={}",
    "Set-Cookie: sid={}; Path=/",
    "postgres://user:{}@host/db",
    "postgres://user:p@{}@host/db",
    "postgres://user:p/{}@host/db",
    "postgres://user:p%40{}@host",
    "redis://:{}@host:6379/0",
    "host=db password={} user=x",
    "host=db password='a {} b' user=x",
    "AccountKey={}==;EndpointSuffix=core",
    "Pwd={};Server=a",
    "user=x,password={},db=1",
    "password=ab&{}",
    "password=ab;{}",
    "password=ab,{} x",
    'password=ab"{}',
    "{{'password': '{}'}}",
    '{{"api_key": "{}"}}',
    '{{\\"api_key\\": \\"{}\\"}}',
    "{{'name': 'Authorization', 'value': '{}'}}",
    "('Authorization', '{}')",
    "(b'authorization', b'{}')",
    "password=b'{}'",
    "auth=('user', '{}')",
    "os.environ['PASSWORD'] = '{}'",
    "connect(password={})",
    "?token={}&page=2",
    "https://host/?sig={}",
    "password%3D{}",
    "<password>{}</password>",
    "api key: {}",
    "password is {}",
    "passwd: my {}",
    "x: password: {}",
    "password\n  String is too short [type=string_too_short, input_value='{}', input_type=str]",
    "https://hooks.slack.com/services/T00/B00/{}",
    "https://discord.com/api/webhooks/1/{}",
    "https://x.webhook.office.com/webhookb2/{}",
    "slack://TokenA/TokenB/{}",
    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
    "Bearer {}",
]
SHAPES = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_" + "a1" * 18,
    "github_pat_" + "A1_" * 10,
    "glpat-" + "x" * 20,
    "sk_live_" + "a1" * 12,
    "rk_live_" + "a1" * 12,
    "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "ty_" + "aB3_" * 11,
    "AIza" + "Sy_-" * 9,
    "xoxb-" + "123456789012-abcdefGHIJ",
    "SG." + "a" * 22 + "." + "b" * 43,
    "sk-proj-" + "aB1_" * 8,
    "npm_" + "a1B2" * 9,
    "$2b$12$" + "abcdefghijklmnopqrstuv" + "0" * 31,
    "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$aGFzaGhhc2hoYXNo",
    "123456789:AA" + "x" * 33,
]
PROSE = [
    "nTokens: 512 used",
    "max_tokens=4096",
    "pass: 10 fail: 2",
    "session: 5 open",
    "Auth: failed",
    "author=bob",
    "signature_date: 2020-01-01",
    "monkey=1",
    "Basic authentication failed",
    "Basic training done",
    "pin count: 4",
    "key=5 value=6",
    "see http://host:8080/a@b",
    "mail bob@example.com: ok",
    "Wrote 5 rows in 0:01:02",
    "  token=token, password=self.password)",
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_name_with_a_secret_word_is_masked(name: str) -> None:
    assert is_secret(name)
    inner = SECRET if name == "session" else {"deep": [SECRET]}  # a session with fields is one that people attend
    assert SECRET not in json.dumps(mask({"a": [{name: SECRET}, {name: inner}]}))


@pytest.mark.parametrize("name", HARMLESS_NAMES)
def test_a_name_that_only_contains_such_letters_stays(name: str) -> None:
    assert not is_secret(name)
    assert mask({name: "value"}) == {name: "value"}


@pytest.mark.parametrize("name", [*SECRET_NAMES[:40:3], "nTokens", "pin", "signature_date"])
def test_columns_of_a_result_are_data(name: str) -> None:
    rows = [{name: "blue", "n": 1}, {name: 7, "n": 2}]
    assert mask_result(rows) == rows


def test_a_declared_field_is_masked_in_payload_and_result_at_any_depth() -> None:
    value = {"phrase": SECRET, "rows": [{"phrase": {"x": SECRET}}], "phrases": "open"}
    for masked in (mask(value, {"phrase"}), mask_result(value, {"phrase"})):
        assert masked == {"phrase": MASK, "rows": [{"phrase": MASK}], "phrases": "open"}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("place", ["{}", "found {} there", "x={}", "({})", '"{}"', "https://host/{}"])
def test_a_credential_is_known_by_its_shape_everywhere(shape: str, place: str) -> None:
    text = place.format(shape)
    for masked in (mask_text(text), json.dumps(mask({"note": text})), json.dumps(mask_result([text]))):
        assert shape not in masked


@pytest.mark.parametrize("form", TEXTS)
def test_a_secret_in_text_is_masked_as_a_whole(form: str) -> None:
    text = form.format(*[SECRET] * form.count("{}"))
    for shown in (mask_text(text), mask_text(f"before\n{text}\nafter"), json.dumps(mask({"note": text}))):
        assert SECRET not in shown
    assert SECRET not in json.dumps(mask_result({"note": text}))


@pytest.mark.parametrize("text", PROSE)
def test_prose_and_numbers_stay(text: str) -> None:
    assert mask_text(text) == text


@pytest.mark.parametrize(
    "value",
    [
        {"name": "Authorization", "value": SECRET},
        {"key": "api_key", "value": SECRET},
        {"header": "Cookie", "content": SECRET},
        [["Accept", "text/html"], ["Authorization", SECRET]],
        ["run", "--password", SECRET],
        json.dumps({"password": SECRET}),
        json.dumps([{"name": "Authorization", "value": SECRET}]),
        {"inner": json.dumps({"again": json.dumps({"token": SECRET})})},
        f"a=1&token={SECRET}",
        {"session": SECRET},
        {"tokens": [SECRET]},
        {"password": 12345678},
    ],
)
def test_pairs_options_and_texts_of_json_are_read(value: Any) -> None:
    masked = json.dumps(mask({"x": value}))
    assert SECRET not in masked
    assert "12345678" not in masked


def test_facts_beside_secret_words_stay() -> None:
    facts = {"tokens": 512, "pass": 3, "session": {"room": "A1"}, "has_password": True, "password": None, "token": ""}
    assert mask(facts) == facts


def test_an_address_that_is_called_back_is_shown_without_its_credentials() -> None:
    shown = mask_url(f"https://u:{SECRET}@host.example/hooks/aB3dE5gH7jK9mN1pQ3rS5tU7/x?token={SECRET}&page=2")
    assert (SECRET in shown, "aB3dE5gH7" in shown) == (False, False)
    assert shown.startswith("https://u:")
    assert shown.endswith("page=2")


@pytest.mark.parametrize("spelled", [str, repr, json.dumps, quote, quote_plus])
def test_a_job_is_masked_by_the_values_of_its_own_secrets(spelled: Any) -> None:
    value = 'ab"c/d\\e é'
    masker = JobMasker({"api_key": value, "phrase": "declared words", "n": 5}, {"phrase"})
    assert value not in masker.text(f"bad key {spelled(value)}!")
    assert spelled(value)[2:-2] not in masker.text(f"bad key {spelled(value)}!")
    assert "declared words" not in masker.text("it says declared words here")


def test_the_password_within_an_address_of_the_payload_is_one_of_those_values() -> None:
    masker = JobMasker({"dsn": f"postgres://user:{SECRET}@host/db"})
    assert masker.text(f"cannot use {SECRET} of user") == f"cannot use {MASK} of user"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text() | st.sampled_from(SECRET_NAMES + HARMLESS_NAMES), inner, max_size=4)
    ),
    max_leaves=12,
)
PIECES = st.sampled_from(
    """password pw token key ' " \\ = : , ; & ( ) { } [ ] \n - -- :// @ eyJ. Bearer Cookie •••••• a1 ghp_ is name value
    -----BEGIN\x20PRIVATE\x20KEY----- -----END $2b$ %3D < > ? sig""".split(" ")
)
SOUP = st.lists(PIECES | st.text(max_size=3), max_size=30).map("".join)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_masking_never_raises_and_masking_again_changes_nothing(value: Any) -> None:
    once = mask(value)
    assert mask(once) == once
    assert mask_result(mask_result(value)) == mask_result(value)


@given(SOUP)
@settings(max_examples=1500, deadline=None)
def test_any_text_is_masked_once(text: str) -> None:
    once = mask_text(text)
    assert mask_text(once) == once


@given(st.sampled_from(SECRET_NAMES), st.text(min_size=6).filter(lambda text: text.strip() and MASK not in text))
@settings(max_examples=300, deadline=None)
def test_no_value_under_a_secret_name_survives(name: str, value: str) -> None:
    assert mask({name: value}) == {name: MASK}
    assert mask({"rows": json.dumps([{name: value}])}) != {"rows": json.dumps([{name: value}])}


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_what_may_not_hold_secrets_holds_none(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False)
    if not may_hold_secrets(text):
        assert mask(value) == value


@pytest.mark.parametrize("value", ["[" * 100_000, '{"a":' * 50_000, json.dumps([[]] * 3)])
def test_texts_that_nest_deeply_are_masked(value: str) -> None:
    assert isinstance(mask({"x": value, "password": value})["x"], str)


def test_values_that_nest_deeply_are_masked() -> None:
    deep: Any = {"password": SECRET}
    for _ in range(300):
        deep = [deep]
    assert SECRET not in json.dumps(mask(deep))


ADVERSARIAL = """a a: a:// :// http://a:b/ http://u:p@ -eyJ eyJ eyJa. password= pw=" pw='\\ password\x20 --password\x20 Bearer\x20
    basic\x20 -----BEGIN\x20PRIVATE\x20KEY----- -----BEGIN\x20 -----END\x20 SG. SG.aaaaaaaaaaaaaaaaa xoxb- $2b$ name=password,value=
    key\x20 pw={ pw=( pw=[ pw=\\" pw=\"\"\" " \\ pw=a& pw=a, pw=a" = a= password:\n password\n\x20input_value= maker.ifttt.com
    slack:// a0 aaaa1111aaaa1111aaaa/ /hooks/ <password> "token",\x20 a- aB 0 é""".split(" ")


@pytest.mark.parametrize("piece", [piece.strip(" ") or piece for piece in ADVERSARIAL if piece.strip()])
def test_large_text_of_any_kind_takes_time_in_proportion(piece: str) -> None:
    piece = piece.replace("\\x20", " ")
    small, large = (piece * (size // len(piece) + 1) for size in (20_000, 500_000))
    began = time.process_time()
    mask_text(small)
    first = time.process_time() - began
    mask_text(large)
    mask_url(large)
    mask({"x": large})
    spent = time.process_time() - began
    # Some 75 times the work; quadratic time would be 1,900 times.
    assert spent < max(6.0, 500 * first)
