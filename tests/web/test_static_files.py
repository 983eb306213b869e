"""Static files: names with hashes, how long browsers keep them, compression."""

from __future__ import annotations

import gzip
import re

from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import Auth

GZIP = {"Accept-Encoding": "gzip"}


def addresses(client: FlaskClient, page: str = "/") -> set[str]:
    return set(re.findall(r'(?:src|href)="(/static/[^"#]+)', client.get(page).text))


def test_every_static_address_of_a_page_holds_its_hash_and_is_kept_for_a_year(auth: Auth) -> None:
    viewer = auth.client("vera")
    for page in ("/", "/jobs", "/health", "/more"):
        found = addresses(viewer, page)
        assert found
        for address in found:
            assert re.search(r"\.[0-9a-f]{12}\.\w+$", address), address
            answer = viewer.get(address)
            assert answer.status_code == 200, address
            assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


def test_what_a_style_sheet_shows_has_a_hash_too(auth: Auth) -> None:
    viewer = auth.client("vera")
    sheet = next(one for one in addresses(viewer) if "/css/main." in one)
    (font,) = re.findall(r'url\("\.\.(/[^"]+woff2)"\)', viewer.get(sheet).text)
    assert viewer.get(f"/static{font}").headers["Cache-Control"].endswith("immutable")
    assert f"/static{font}" in addresses(viewer)  # preloaded under the same name


def test_another_version_s_name_gets_the_current_file_and_is_not_kept(app: Flask) -> None:
    client = app.test_client()
    current = client.get("/static/js/main.js")
    for name in ("js/main.js", "js/main.000000000000.js"):
        answer = client.get(f"/static/{name}")
        assert answer.data == current.data
        assert answer.headers["Cache-Control"] == "no-cache"
    for name in ("js/none.js", "js/main.xyz.js", "../app.py", "js/", "js/main.000000000000.css"):
        assert client.get(f"/static/{name}").status_code == 404, name


def test_a_static_file_is_compressed_once_and_answered_by_its_tag(app: Flask) -> None:
    client = app.test_client()
    plain = client.get("/static/css/main.css")
    small = client.get("/static/css/main.css", headers=GZIP)
    assert "Content-Encoding" not in plain.headers
    assert gzip.decompress(small.data) == plain.data
    assert len(small.data) < len(plain.data) / 3
    assert plain.headers["Vary"] == small.headers["Vary"] == "Accept-Encoding"
    assert plain.headers["ETag"] != small.headers["ETag"]
    again = client.get("/static/css/main.css", headers={**GZIP, "If-None-Match": small.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    font = "/static/vendor/inter/inter-latin-wght-normal.woff2"
    assert "Content-Encoding" not in client.get(font, headers=GZIP).headers
