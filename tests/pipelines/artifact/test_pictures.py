"""Pictures: the same bytes from the same document, readable by machines, safe in a page, on light and dark ground."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from pipelines.artifact.pictures import (
    DARK,
    DARK_GROUND,
    GRID,
    GROUND,
    explained_rows_picture,
    importances_picture,
    pictures,
    slices_picture,
)
from tests.pipelines.artifact.learnt_models import Model, documents_of

REPOSITORY = Path(__file__).parents[3]
NAMES = ("importances.svg", "explained_rows.svg", "calibration.svg", "slices.svg")
SVG = "{http://www.w3.org/2000/svg}"
DRAW = """
import json, sys
from pipelines.artifact.pictures import pictures
documents = json.load(sys.stdin)
drawn = pictures(documents["evaluation.json"], documents["explanations.json"])
print(json.dumps({name: content.decode() for name, content in drawn.items()}))
"""


def test_another_process_with_other_settings_of_the_user_draws_the_same_bytes(trees: Model, tmp_path: Path) -> None:
    documents = documents_of(trees)
    here = pictures(documents["evaluation.json"], documents["explanations.json"])
    settings = "font.size: 31\nfont.family: serif\nsvg.fonttype: none\naxes.facecolor: red\nlines.linewidth: 9\n"
    (tmp_path / "matplotlibrc").write_text(settings)
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path), "TZ": "Asia/Kathmandu",
        "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "77", "LC_ALL": "C", "SOURCE_DATE_EPOCH": "1",
    }  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", DRAW], input=json.dumps(documents), capture_output=True, text=True, check=True,
        env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert json.loads(told.stdout) == {name: content.decode() for name, content in here.items()}


def test_every_picture_is_one_element_that_says_what_it_shows(drawn: dict[str, bytes]) -> None:
    assert tuple(drawn) == NAMES
    for content in drawn.values():
        picture = ElementTree.fromstring(content)
        assert picture.tag == f"{SVG}svg"
        assert picture.get("role") == "img"
        named = {element.get("id"): element.text for element in picture if element.tag != f"{SVG}style"}
        title, description = (named[name] for name in picture.get("aria-labelledby", "").split())
        assert title
        assert description is not None
        assert description.endswith(".")


def test_ids_are_unique_over_all_pictures_and_every_reference_has_one(drawn: dict[str, bytes]) -> None:
    page = "".join(content.decode() for content in drawn.values())
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    referred = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert referred
    assert referred <= set(ids)


def test_nothing_is_loaded_run_or_dated(drawn: dict[str, bytes]) -> None:
    for content in drawn.values():
        text = content.decode()
        assert not re.search(r"<script|<image|<foreignObject|<metadata|<!DOCTYPE|<\?xml|@import| on\w+=", text)
        addresses = set(re.findall(r"https?://[^\"' ]+", text))
        assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}


def test_words_are_paths_so_that_no_font_is_asked_for(drawn: dict[str, bytes]) -> None:
    assert all(b"<text" not in content and b"font-family" not in content for content in drawn.values())


def test_every_colour_has_one_for_dark_ground(drawn: dict[str, bytes]) -> None:
    for content in drawn.values():
        body = content.decode().split("</style>", 1)[1]
        assert set(re.findall(r"#[0-9a-f]{6}\b", body)) <= set(DARK)
        assert not re.search(r"(?:fill|stroke): (?!#|none)", body)


def contrast(one: str, other: str) -> float:
    """WCAG 2.2, 1.4.3."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("light", [colour for colour in DARK if colour != GRID])
def test_colours_stand_out_from_light_and_from_dark_ground(light: str) -> None:
    assert contrast(light, GROUND) >= 4.5
    assert contrast(DARK[light], DARK_GROUND) >= 4.5


def test_a_picture_is_no_wider_than_a_phone(drawn: dict[str, bytes]) -> None:
    for content in drawn.values():
        width = ElementTree.fromstring(content).get("width", "")
        assert width.endswith("pt")
        assert float(width.removesuffix("pt")) * 96 / 72 <= 444


def test_words_from_the_data_cannot_leave_their_place(documents: dict[str, Any]) -> None:
    hostile = deepcopy(documents)
    words = '</desc><script>alert(1)</script> $\\frac{1}{0}$ "&'
    hostile["evaluation.json"]["slices"][0]["value"] = words
    hostile["evaluation.json"]["slices"][0]["column"] = words
    for entry in hostile["explanations.json"]["importances"]:
        entry["title"] = words
    for content in pictures(hostile["evaluation.json"], hostile["explanations.json"]).values():
        ElementTree.fromstring(content)
        assert b"<script" not in content


def test_slices_that_are_not_judged_or_have_no_figure_are_left_out(documents: dict[str, Any]) -> None:
    report = deepcopy(documents["evaluation.json"])
    told = slices_picture(report).decode()
    assert "part=one" in told
    assert "part=rare" not in told
    for entry in report["slices"]:
        entry["judged"] = False
    ElementTree.fromstring(slices_picture(report))


def test_many_features_and_long_names_still_fit(documents: dict[str, Any]) -> None:
    many = deepcopy(documents)
    first = many["explanations.json"]["importances"][0]
    many["explanations.json"]["importances"] = [first | {"title": f"{'long ' * 30}{place}"} for place in range(80)]
    drawn = importances_picture(many["explanations.json"])
    height = ElementTree.fromstring(drawn).get("height", "").removesuffix("pt")
    assert float(height) < 900
    assert len(drawn) < 1 << 20


def test_numbers_below_zero_have_one_sign_in_all_words(documents: dict[str, Any]) -> None:
    below = deepcopy(documents["explanations.json"])
    below["examples"] = below["examples"][:1]
    below["examples"][0]["actual_shown"] = "-42 minutes"
    below["examples"][0]["values"][0] |= {"title": "up-to-date", "shown": "-0.5 minutes"}
    told = ElementTree.fromstring(explained_rows_picture(below)).findtext("{*}desc") or ""
    assert "actual \N{MINUS SIGN}42 minutes" in told
    assert "up-to-date: \N{MINUS SIGN}0.5 minutes" in told
