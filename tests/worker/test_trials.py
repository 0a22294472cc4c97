"""The loader: what it refuses, and in which words, where the artifact is damaged, huge, endless, or ends it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from benchmarks.swaps.versions import NAME, Versions, graph_bytes, node
from server import trials as trials_module
from server.processes import BARE_FILE_VERSION
from server.scheduling import LAST_NICENESS
from server.settings import ModelSettings, Settings, TrialSettings
from server.trials import NotTried, TrialEnd, Trials, TrialSpec, TrialVerdict
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


def good_spec(folder: Path) -> TrialSpec:
    """Of a file beside whichever else lies in the folder."""
    other = folder / "good"
    other.mkdir()
    return file_spec(written(other, doubled()))


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
@contextlib.asynccontextmanager
async def trials_begun() -> AsyncIterator[Trials]:
    trials = Trials()
    try:
        yield trials
    finally:
        await trials.close()
        assert not loaders()


def run(*specs: TrialSpec) -> list[TrialVerdict]:
    """One after another, by one loader."""
    warm_kernels()

    async def run_all() -> list[TrialVerdict]:
        async with trials_begun() as trials:
            return [await trials.run(spec) for spec in specs]

    return asyncio.run(run_all())


def test_the_process_says_what_the_function_says(versions: Versions) -> None:
    tried(spec_of(versions, 1, None))
    (verdict,) = run(spec_of(versions))
    assert (verdict.ok, verdict.batchable) == (True, True), verdict
    # Without what ONNX Runtime takes for itself, which is 8 MiB and was there before: its loader has rehearsed.
    assert verdict.rss_bytes < 4 * MIB


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
    (verdict,) = run(file_spec(written(tmp_path, of_a_hundred_gigabytes())))
    assert not verdict.ok
    assert verdict.reason.startswith(
        "model scaled: expected it to answer while it is loaded, got: inputs: expected a size that fits into memory"
    )


def test_an_artifact_that_never_ends_is_ended_and_said_to_take_too_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Beside other tests it may get no core for most of its time: what is said then is another test's to see.
    monkeypatch.setattr(trials_module, "_waited_for_a_core_s", lambda _: 0.0)
    limit = TrialSettings(load_timeout_s=3.0)
    endless_spec = file_spec(written(tmp_path, endless()), trial=limit)
    verdict, after = run(endless_spec, good_spec(tmp_path))
    assert not verdict.ok
    assert verdict.reason.startswith("trial: expected it loaded and warm within 3 s (trial.load_timeout_s), got more.")
    assert after.ok


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, "got SIGSEGV of the loader. Its runtime crashed."),
        (signal.SIGKILL, "got SIGKILL of the loader. It took too much memory, or its runtime crashed."),
        (signal.SIGXCPU, "expected it loaded and warm within 120 s"),
    ],
)
def test_a_child_that_dies_is_a_refusal_that_names_what_ended_it(
    tmp_path: Path, number: signal.Signals, words: str
) -> None:
    async def ended() -> tuple[TrialVerdict, TrialVerdict]:
        async with trials_begun() as trials:
            trial = asyncio.create_task(trials.run(file_spec(written(tmp_path, endless()))))
            os.kill(await tried_by_a_child(), number)
            return await trial, await trials.run(good_spec(tmp_path))

    verdict, after = asyncio.run(ended())
    assert not verdict.ok
    assert words in verdict.reason
    assert after.ok


def test_a_loader_that_dies_is_held_against_nobody(tmp_path: Path) -> None:
    """Another one tries it, and where that dies too nothing is said of the artifact."""

    async def ended() -> TrialVerdict:
        async with trials_begun() as trials:
            assert (await trials.run(good_spec(tmp_path))).ok
            trial = asyncio.create_task(trials.run(file_spec(written(tmp_path, endless()))))
            for _ in range(trials_module.TRIES):
                child = await tried_by_a_child()
                os.kill(loaders()[0], signal.SIGKILL)
                await until_gone(child)
            with pytest.raises(NotTried, match="one that ended with -9, 2 times"):
                await trial
            return await trials.run(file_spec(tmp_path / "good" / "model.onnx"))

    assert asyncio.run(ended()).ok


def test_a_loader_that_died_while_it_idled_is_replaced(tmp_path: Path) -> None:
    async def twice() -> None:
        async with trials_begun() as trials:
            spec = good_spec(tmp_path)
            assert (await trials.run(spec)).ok
            os.kill(loaders()[0], signal.SIGKILL)  # of which nobody is told before it is asked
            assert (await trials.run(spec)).ok

    asyncio.run(twice())


def test_a_trial_that_got_no_core_is_held_against_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "_waited_for_a_core_s", lambda _: 2.9)
    limit = TrialSettings(load_timeout_s=3.0)
    with pytest.raises(NotTried, match="expected a core for most of 3 s"):
        run(file_spec(written(tmp_path, endless()), trial=limit))


def test_how_long_a_child_waited_for_a_core_is_known(tmp_path: Path) -> None:
    async def waited_s() -> float:
        async with trials_begun() as trials:
            trial = asyncio.create_task(trials.run(file_spec(written(tmp_path, endless()))))
            await tried_by_a_child()
            found = 0.0
            while found == 0:  # on its way to a core it waited for a moment at least
                await asyncio.sleep(0.05)
                found = trials_module._waited_for_a_core_s(loaders()[0])
            trial.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await trial
            return found

    assert 0 < asyncio.run(waited_s()) < TIMEOUT_S


def test_a_loader_that_says_nothing_is_a_refusal_with_what_it_complained_of(tmp_path: Path) -> None:
    spec = file_spec(written(tmp_path, doubled()))
    (verdict,) = run(spec.model_copy(update={"name": "nobody"}))
    assert not verdict.ok
    assert verdict.reason.startswith("trial: expected a verdict of the loader, got exit code 1 and: ")


def test_what_an_artifact_does_to_its_process_the_next_one_does_not_meet(tmp_path: Path) -> None:
    """Limits are set by a child for itself: a loader that kept them would refuse whatever came next."""
    small = TrialSettings(memory_bytes_max=512 * MIB)
    refused, after = run(file_spec(written(tmp_path, of_a_hundred_gigabytes()), trial=small), good_spec(tmp_path))
    assert (refused.ok, after.ok) == (False, True), (refused, after)


def test_a_trial_gives_way_to_whatever_serves(tmp_path: Path) -> None:
    async def niceness() -> int:
        async with trials_begun() as trials:
            trial = asyncio.create_task(trials.run(file_spec(written(tmp_path, endless()))))
            found = os.getpriority(os.PRIO_PROCESS, await tried_by_a_child())
            trial.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await trial
            return found

    assert asyncio.run(niceness()) == LAST_NICENESS


def test_a_trial_that_is_cancelled_leaves_no_process_behind(tmp_path: Path) -> None:
    async def cancelled() -> None:
        async with trials_begun() as trials:
            trial = asyncio.create_task(trials.run(file_spec(written(tmp_path, endless()))))
            child = await tried_by_a_child()
            trial.cancel()
            with pytest.raises(asyncio.CancelledError):
                await trial
            assert not loaders()
            assert not (Path("/proc") / str(child)).exists(), "reaped, too"

    asyncio.run(cancelled())


def test_one_that_is_closed_tries_nothing_any_more(tmp_path: Path) -> None:
    async def closed() -> None:
        trials = Trials()
        await trials.close()
        with pytest.raises(NotTried, match="one that ends"):
            await trials.run(good_spec(tmp_path))
        assert not loaders()

    asyncio.run(closed())


def test_of_what_a_child_complained_the_end_is_told() -> None:
    """Of a specification of a megabyte that is none."""
    asked = [*trials_module.COMMAND, str(os.getpid())]
    nonsense = b"{" + b"x" * (1 << 20) + b"\n"
    answers = subprocess.run(asked, input=nonsense, capture_output=True, timeout=TIMEOUT_S, check=True).stdout
    end = TrialEnd.model_validate_json(answers)
    assert (end.code, end.verdict) == (1, None)
    assert "Invalid JSON" in end.complaint


def test_a_loader_has_one_thread(tmp_path: Path) -> None:
    """A child of a process with others would begin with their locks held."""

    async def threads() -> int:
        async with trials_begun() as trials:
            await trials.run(good_spec(tmp_path))
            return len(list((Path("/proc") / str(loaders()[0]) / "task").iterdir()))

    assert asyncio.run(threads()) == 1


def test_a_loader_goes_when_nobody_has_asked_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials_module, "IDLE_S", 0.1)
    spec = file_spec(written(tmp_path, doubled()))

    async def twice() -> None:
        async with trials_begun() as trials:
            assert (await trials.run(spec)).ok
            (loader,) = loaders()
            await until_gone(loader)
            assert (await trials.run(spec)).ok

    asyncio.run(twice())


@pytest.mark.parametrize("when", ["while it imports", "while it tries"])
def test_a_trial_ends_with_whoever_asked_for_it(tmp_path: Path, when: str) -> None:
    """Nobody is left who could end what a killed control had begun."""
    spec = file_spec(written(tmp_path, endless()))
    asker = tmp_path / "asker.py"
    asker.write_text(
        "import asyncio, sys\n"
        "from server.trials import Trials, TrialSpec\n"
        "asyncio.run(Trials().run(TrialSpec.model_validate_json(sys.stdin.read())))\n"
    )

    async def killed() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, str(asker), stdin=asyncio.subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(spec.model_dump_json().encode())
        process.stdin.close()
        while not (found := loaders(process.pid)):
            await asyncio.sleep(0.01)
        child = await tried_by_a_child(process.pid) if when == "while it tries" else None
        process.kill()
        await process.wait()
        for one in (*found, child):
            if one is not None:
                await until_gone(one)

    asyncio.run(killed())


async def tried_by_a_child(asker: int | None = None) -> int:
    """The child in which an artifact is tried now, once it has set its niceness."""
    async with asyncio.timeout(TIMEOUT_S):
        while True:
            for loader in loaders(asker):
                for child in loaders(loader):
                    with contextlib.suppress(ProcessLookupError):
                        if os.getpriority(os.PRIO_PROCESS, child) == LAST_NICENESS:
                            return child
            await asyncio.sleep(0.01)


async def until_gone(pid: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while _lives(pid):
            await asyncio.sleep(0.01)


def _lives(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def loaders(asker: int | None = None) -> list[int]:
    """Loaders that live and that this process, or another one, has begun; of a loader: its children."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes()
        except (OSError, NotADirectoryError):
            continue
        if int(fields[1]) == (asker or os.getpid()) and fields[0] != "Z" and b"server.worker.trial" in command:
            found.append(int(folder.name))
    return found
