"""The loader: what it refuses, and in which words, where the artifact is damaged, huge, endless, or ends it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from benchmarks.swaps.versions import NAME, Versions, graph_bytes, node
from server.processes import BARE_FILE_VERSION
from server.settings import ModelSettings, Settings, TrialSettings
from server.trials import TrialSpec, TrialVerdict, run_trial
from server.worker.trial.tried import tried
from tests.behaviour.worker_process import warm_kernels
from tests.worker.onnx_graphs import centred, doubled, endless, model_bytes, written
from tests.worker.operated import settings_of

TIMEOUT_S = 60.0
MIB = 1 << 20


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    versions = Versions(tmp_path)
    versions.push_scaled(2)
    return versions


def spec_of(versions: Versions, version: int = 2, stable: int | None = 1, **sections: object) -> TrialSpec:
    return TrialSpec(
        name=NAME,
        version=str(version),
        digest=versions.digests[version],
        stable_digest=None if stable is None else versions.digests[stable],
        settings=settings_of(versions, **sections),
    )


def file_spec(path: Path, **sections: object) -> TrialSpec:
    settings = Settings(models=(ModelSettings(name=NAME, onnx=path),), **sections)  # type: ignore[arg-type]
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return TrialSpec(name=NAME, version=BARE_FILE_VERSION, digest=digest, stable_digest=None, settings=settings)


# --- What it says of an artifact, in this process --------------------------------------------------------------------
def test_a_good_artifact_is_loaded_and_weighed(versions: Versions) -> None:
    tried(spec_of(versions, 1, None))  # fills the cache, as control does
    verdict = tried(spec_of(versions))
    assert (verdict.ok, verdict.reason, verdict.batchable) == (True, "", True)
    assert verdict.seconds > 0


@pytest.mark.parametrize("name", ["golden.json", "manifest.json", "model.onnx"])
@pytest.mark.parametrize("damage", ["a bit", "cut short", "gone"])
def test_a_bundle_of_which_one_file_is_damaged_is_refused(versions: Versions, name: str, damage: str) -> None:
    path = versions.root / "bundles" / versions.digests[2] / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(content if damage == "a bit" else content[: len(content) // 2])
    verdict = tried(spec_of(versions, stable=None))
    assert not verdict.ok
    assert verdict.reason.startswith(f"model {NAME}: "), verdict
    assert "\n" not in verdict.reason


def test_another_signature_than_the_stables_is_refused_by_the_tensors_name(versions: Versions) -> None:
    wider = versions.push(graph_bytes([node("Mul", ["x", "two"], ["y"])], {"two": np.full(1, 2, np.float32)}, 5), 2)
    tried(spec_of(versions, 1, None))
    verdict = tried(spec_of(versions, wider))
    assert not verdict.ok
    assert "inputs[0]: expected x FP32 [-1, 4], as the stable has, got x FP32 [-1, 5]." in verdict.reason


def test_rows_that_depend_on_each_other_are_noticed(tmp_path: Path) -> None:
    verdict = tried(file_spec(written(tmp_path, centred())))
    assert (verdict.ok, verdict.batchable) == (True, False)


# --- What becomes of it in a process of its own ----------------------------------------------------------------------
def run(spec: TrialSpec, timeout_s: float = TIMEOUT_S) -> TrialVerdict:
    warm_kernels()
    return asyncio.run(run_trial(spec, timeout_s))


def test_the_process_says_what_the_function_says(versions: Versions) -> None:
    tried(spec_of(versions, 1, None))
    verdict = run(spec_of(versions))
    assert (verdict.ok, verdict.batchable) == (True, True), verdict
    assert 0 < verdict.rss_bytes < 512 * MIB


def of_a_hundred_gigabytes() -> bytes:
    """A constant of 100 GB, which loading makes where constants are folded, and the first run where they are not."""
    return model_bytes(
        [
            helper.make_node("ConstantOfShape", ["large"], ["zeros"]),
            node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
            node("Add", ["x", "sum"], ["y"]),
        ],
        {"x": (TensorProto.FLOAT, ["rows", 4])},
        {"y": (TensorProto.FLOAT, ["rows", 4])},
        {"large": np.array([25 * 10**9])},
    )


def test_an_artifact_that_wants_a_hundred_gigabytes_is_refused_within_its_limit(tmp_path: Path) -> None:
    verdict = run(file_spec(written(tmp_path, of_a_hundred_gigabytes())))
    assert not verdict.ok
    assert verdict.reason.startswith(
        "model scaled: expected it to answer while it is loaded, got: inputs: expected a size that fits into memory"
    )


def test_an_artifact_that_never_ends_is_ended_and_said_to_take_too_long(tmp_path: Path) -> None:
    trial = TrialSettings(load_timeout_s=3.0)
    verdict = run(file_spec(written(tmp_path, endless()), trial=trial), trial.load_timeout_s)
    assert not verdict.ok
    assert verdict.reason.startswith("trial: expected it loaded and warm within 3 s (trial.load_timeout_s), got more.")
    assert not children()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, "got SIGSEGV of the loader. Its runtime crashed."),
        (signal.SIGKILL, "got SIGKILL of the loader. It took too much memory, or its runtime crashed."),
        (signal.SIGXCPU, "expected it loaded and warm within 120 s"),
    ],
)
def test_a_loader_that_dies_is_a_refusal_that_names_what_ended_it(
    tmp_path: Path, number: signal.Signals, words: str
) -> None:
    verdict = asyncio.run(_ended_by(number, file_spec(written(tmp_path, endless()))))
    assert not verdict.ok
    assert words in verdict.reason
    assert not children()


async def _ended_by(number: signal.Signals, spec: TrialSpec) -> TrialVerdict:
    trial = asyncio.create_task(run_trial(spec, TIMEOUT_S))
    while not (found := await asyncio.to_thread(children)):
        await asyncio.sleep(0.01)
    os.kill(found[0], number)
    return await trial


def test_a_loader_that_says_nothing_is_a_refusal_with_what_it_complained_of(tmp_path: Path) -> None:
    spec = file_spec(written(tmp_path, doubled()))
    verdict = run(spec.model_copy(update={"name": "nobody"}))
    assert not verdict.ok
    assert verdict.reason.startswith("trial: expected a verdict of the loader, got exit code 1 and: ")


def children() -> list[int]:
    """Loaders of this process's that live."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except (OSError, NotADirectoryError):
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and b"server.worker.trial" in command:
            found.append(int(folder.name))
    return found
