"""The page's addresses: what they refuse, what their headers allow, and that they reach nothing but themselves."""

from __future__ import annotations

import re
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

import httpx
import pytest

from server.control.drift_page import routes
from server.control.drift_page.routes import FILES, FOLDER
from tests.control.drift_page.watched import MODEL, watched

BAD: Final = (
    ("heat-map", {}, "model"),
    ("heat-map", {"model": "nobody"}, "model"),
    ("heat-map", {"model": MODEL, "signal": "labels"}, "signal"),
    ("heat-map", {"model": MODEL, "length": "month"}, "length"),
    ("heat-map", {"model": MODEL, "windows": "1000"}, "windows"),
    ("heat-map", {"model": MODEL, "feature": "age"}, "query"),
    ("feature", {"model": MODEL}, "feature"),
    ("feature", {"model": MODEL, "feature": "agee"}, "feature"),
    ("feature", {"model": MODEL, "feature": "churn_probability"}, "feature"),
    ("feature", {"model": MODEL, "feature": "age", "window": "-1"}, "window"),
    ("feature", {"model": MODEL, "feature": "age", "window": "60"}, "window"),
    ("events", {"model": "nobody"}, "model"),
    ("models", {"model": MODEL}, "query"),
)
"""An address, what is asked, and the parameter that is wrong."""
STATIC: Final = sorted(path for path in FOLDER.iterdir() if path.suffix not in {".py", ".pyc"} and path.is_file())
POLICY: Final = {
    "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
    "img-src": "'self' data:", "base-uri": "'none'", "form-action": "'none'", "frame-ancestors": "'none'",
}  # fmt: skip


async def test_a_bad_question_is_refused_once_and_names_the_parameter(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.minutes(1)
        for path, query, parameter in BAD:
            answer = await world.get(f"/drift/{path}", **query)
            assert answer.status_code == 400, (path, query)
            assert answer.json()["parameter"] == parameter
            assert answer.json()["error"].startswith(f"{parameter}: expected ")
            assert answer.headers["x-content-type-options"] == "nosniff"


async def test_every_answer_has_the_headers_that_keep_a_page_to_itself(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        await world.minutes(1)
        asked: dict[str, dict[str, str]] = {path: {} for path in (*FILES, "/drift/models")}
        asked["/drift/heat-map"] = {"model": MODEL}
        asked["/drift/feature"] = {"model": MODEL, "feature": "age"}
        for path, query in asked.items():
            answer = await world.get(path, **query)
            assert answer.status_code == 200, path
            policy = dict(one.strip().split(" ", 1) for one in answer.headers["content-security-policy"].split(";"))
            assert policy == POLICY
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == ("no-cache" if path in FILES else "no-store")


async def test_a_file_that_a_browser_has_is_not_sent_again(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        for path, (name, media_type) in FILES.items():
            first = await world.get(path)
            assert first.content == (FOLDER / name).read_bytes()
            assert first.headers["content-type"].startswith(media_type)
            async with httpx.AsyncClient(base_url=world.address) as client:
                again = await client.get(path, headers={"if-none-match": first.headers["etag"]})
                assert (again.status_code, again.content) == (304, b"")
                other = await client.get(path, headers={"if-none-match": '"another"'})
                assert other.status_code == 200


async def test_the_front_page_leads_here_where_drift_is_watched(tmp_path: Path) -> None:
    async with watched(tmp_path) as world:
        assert '<a href="/drift">' in (await world.get("/")).text
        assert (await world.get("/drift")).headers["content-type"] == "text/html; charset=utf-8"


def test_every_file_of_the_page_has_an_address_and_is_packed_into_the_wheel() -> None:
    assert {path.name for path in STATIC} == {name for name, _ in FILES.values()}
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"][routes.__name__.rpartition(".")[0]]
    for path in STATIC:
        assert any(fnmatch(path.name, pattern) for pattern in patterns), path.name


@pytest.mark.parametrize("path", STATIC, ids=lambda path: path.name)
def test_nothing_in_a_file_leads_to_another_machine(path: Path) -> None:
    text = path.read_text()
    assert set(re.findall(r"https?://[^\s'\")]+", text)) <= {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)


def test_the_markup_has_no_script_or_style_of_its_own() -> None:
    html = (FOLDER / "drift.html").read_text()
    assert re.findall(r"<script[^>]*>(.*?)</script>", html, re.DOTALL) == [""]
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=", html)
