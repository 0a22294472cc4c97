"""Documents hold: links lead somewhere, commands exist, Python compiles, and no command names an index."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pipelines.employment.meaning import COLUMNS

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
PAGES = sorted(name for name in TRACKED if name.endswith(".md"))
BLOCKS = [
    (page, language, block)
    for page in PAGES
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_to_a_file_leads_to_one(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(file), f"{page}: {target}"


@pytest.mark.parametrize(("page", "block"), [(page, block) for page, language, block in BLOCKS if language == "python"])
def test_every_python_block_compiles(page: str, block: str) -> None:
    compile(block, page, "exec")


@pytest.mark.parametrize(
    ("page", "block"), [(page, block) for page, language, block in BLOCKS if language == "console"]
)
def test_every_make_command_on_a_page_has_its_target(page: str, block: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in re.findall(r"\bmake ([a-z-]+)", block):
        assert name in targets, f"{page}: make {name}"


def test_what_the_readme_tells_a_developer_to_run_is_what_decides_about_a_change() -> None:
    developing = (ROOT / "README.md").read_text().partition("\n## Developing\n")[2]
    block = re.search(r"^```console\n(.*?)^```", developing, re.MULTILINE | re.DOTALL)
    assert block is not None
    told = [line.removeprefix("$ ") for line in block[1].splitlines()]
    assert sorted(told) == ["make lint", "make test"]
    assert set(told) <= set((ROOT / ".ci" / "run").read_text().splitlines())


def test_the_first_pages_name_no_digest_which_the_next_change_of_the_bundle_would_make_stale() -> None:
    for page in ("README.md", "docs/start/first-model.md"):
        assert not re.search(r"digest [0-9a-f]{6,}", (ROOT / page).read_text()), page


def test_the_version_is_read_in_one_place() -> None:
    readers = [name for name in TRACKED if name.startswith("server/") and name.endswith(".py")]
    reads = re.compile(r"^from importlib\.metadata import .*\bversion\b", re.MULTILINE)
    assert [name for name in readers if reads.search((ROOT / name).read_text())] == ["server/version.py"]


def test_the_table_of_columns_is_the_models_own() -> None:
    page = (ROOT / "docs" / "start" / "first-model.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\w+) \| ([^|]+) \|", page, re.MULTILINE)
    assert [(int(index), name) for index, name, _ in rows] == [(i, column.name) for i, column in enumerate(COLUMNS)]


def test_no_command_of_ours_names_an_index() -> None:
    for name in ("Makefile", "Dockerfile", ".ci/run"):
        assert not re.search(r"--(extra-)?index-url|--find-links|--trusted-host", (ROOT / name).read_text()), name


def test_the_licence_is_apache_2_and_whole() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert [f"   {number}. " in text for number in range(1, 10)] == [True] * 9
    assert text.rstrip().endswith("limitations under the License.")
