"""What the Dockerfile promises: pinned installs, no root, a probe that works, and nothing copied that is not there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.image.dockerfile import environment_of, exec_form, read_stages

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Dockerfile").read_text()
STAGES = read_stages(TEXT)
COPIED = [
    source
    for stage in STAGES
    for text in stage.all("COPY")
    if not text.startswith("--from")
    for source in text.split()[:-1]
]
PIP_INSTALLS = re.findall(r"pip install [^&]*", " && ".join(run for stage in STAGES for run in stage.all("RUN")))


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    linter = Path(sys.executable).with_name("hadolint")
    return subprocess.run([linter, path], capture_output=True, text=True, check=False)


def test_hadolint_finds_nothing() -> None:
    done = hadolint(ROOT / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_hadolint_would_find_a_planted_fault(tmp_path: Path) -> None:
    planted = tmp_path / "Dockerfile"
    planted.write_text(TEXT.replace("--no-install-recommends ", ""))
    assert "DL3015" in hadolint(planted).stdout


@pytest.mark.parametrize("command", PIP_INSTALLS)
def test_every_install_is_pinned_by_hash_or_touches_no_index(command: str) -> None:
    assert "--require-hashes" in command or "--no-index" in command


def test_there_are_installs_to_check() -> None:
    assert len(PIP_INSTALLS) == 3


@pytest.mark.parametrize("source", COPIED)
def test_a_copied_path_exists_and_is_let_through_by_dockerignore(source: str) -> None:
    assert (ROOT / source).exists()
    assert f"!{source}" in (ROOT / ".dockerignore").read_text().splitlines()


def test_dockerignore_lets_nothing_else_through() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(COPIED)


def test_training_and_tests_stay_out_of_the_image() -> None:
    assert not {"pipelines", "benchmarks", "loadtests", "tests", "locks/dev.lock", "locks/train.lock"} & set(COPIED)


def test_every_stage_starts_from_one_python_tagged_to_the_patch() -> None:
    images = {stage.image for stage in STAGES}
    assert len(images) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", images.pop())


def test_the_server_does_not_run_as_root() -> None:
    users = STAGES[-1].all("USER")
    assert users[-1] == "10001:10001"


def test_kernels_are_baked_for_a_named_processor_before_root_is_given_up() -> None:
    environment = environment_of(STAGES[-1])
    assert environment["NUMBA_CPU_NAME"] == "x86-64-v3"
    assert environment["NUMBA_CPU_FEATURES"] == ""
    words = [step.word for step in STAGES[-1].steps]
    warm = next(index for index, step in enumerate(STAGES[-1].steps) if step.text == "roost warm")
    assert words.index("ENV") < warm < words.index("USER")


def test_what_must_be_written_lies_on_the_volume() -> None:
    environment = environment_of(STAGES[-1])
    (volume,) = STAGES[-1].all("VOLUME")
    assert environment["ROOST_REGISTRY__CACHE"].startswith(f"{volume}/")
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"


def test_the_health_check_asks_the_port_that_the_entry_point_opens() -> None:
    (entry,) = STAGES[-1].all("ENTRYPOINT")
    (probe,) = STAGES[-1].all("HEALTHCHECK")
    port = exec_form(entry)[exec_form(entry).index("--listen") + 1].rpartition(":")[2]
    assert exec_form(probe) == ["python", "-m", "server.probe", f"127.0.0.1:{port}"]
    assert port in STAGES[-1].all("EXPOSE")[0].split()


def test_a_step_of_an_unknown_kind_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="no rule for ONBUILD"):
        read_stages("FROM a\nONBUILD RUN true\n")
