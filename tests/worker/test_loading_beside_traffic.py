"""How long a worker's loop stands still while a large model is loaded and freed in another thread."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from registry_client.bundle import write_bundle
from registry_client.folder import FolderRegistry
from registry_client.golden import make_golden
from registry_client.onnx_model import read_onnx
from server.settings import ModelSettings, RegistrySettings, Settings
from server.worker.models.loading import load_model
from server.worker.models.session import Api, OnnxSession
from server.worker.process import SWITCH_INTERVAL_S
from server.worker.seats import LOADER_NICENESS
from tests.worker.onnx_graphs import heavy, written

TICK_S = 0.0005
GAP_MS_MAX = 5.0
TRIES = 4

pytestmark = pytest.mark.alone  # beside others the machine itself makes gaps


def waited_for_a_processor_s(thread: int) -> float:
    """How long a thread that could run did not, since the machine had other work (proc(5): schedstat)."""
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[1]) / 1e9


def longest_gap_ms(work: Callable[[], None], *, taken_off: bool = True) -> float:
    """Of a thread that wakes every half millisecond, as a loop does, while another does the work.

    taken_off: without what either of the two waited for a processor, which is the machine's doing, not the work's.
    """
    began, ended, left = threading.Event(), threading.Event(), threading.Event()

    def beside() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOADER_NICENESS)
        began.wait()
        try:
            work()
        finally:
            ended.set()
        left.wait()

    thread = threading.Thread(target=beside)
    thread.start()
    both = (threading.get_native_id(), thread.native_id or 0)
    longest_s, over = 0.0, False
    # Before the work begins: it may keep the interpreter from its first moment to its last.
    waited_s = sum(map(waited_for_a_processor_s, both))
    slept_s = time.perf_counter()
    began.set()
    while not over:
        time.sleep(TICK_S)
        gap_s = time.perf_counter() - slept_s
        over = ended.is_set()
        # Outside of the gap: each of its calls to the system lets go of the interpreter, and may wait for it anew.
        before_s, waited_s = waited_s, sum(map(waited_for_a_processor_s, both))
        longest_s = max(longest_s, gap_s - (waited_s - before_s if taken_off else 0.0))
        slept_s = time.perf_counter()
    left.set()
    thread.join()
    return 1000 * longest_s


@pytest.fixture(autouse=True)
def _as_in_a_worker() -> Iterator[None]:
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    yield
    sys.setswitchinterval(before_s)


def as_a_file(folder: Path) -> tuple[ModelSettings, Settings]:
    wanted = ModelSettings(name="model", onnx=written(folder, heavy(100)))
    return wanted, Settings(models=(wanted,))


def as_a_bundle(folder: Path) -> tuple[ModelSettings, Settings]:
    content = heavy(100)
    signature = read_onnx(content).signature
    width = signature.inputs[0].shape[1]
    x = np.ones((1, width), np.float32)
    golden = make_golden(signature, [({"x": x}, {"y": x * width})])
    write_bundle(folder / "bundle", name="model", model_bytes=content, golden=golden)
    FolderRegistry(folder / "registry").push(folder / "bundle", aliases=["stable"])
    registry = RegistrySettings(path=folder / "registry", cache=folder / "cache")
    return ModelSettings(name="model", reference="@stable"), Settings(registry=registry)


@pytest.mark.parametrize("kept", [as_a_file, as_a_bundle])
def test_loading_and_freeing_a_hundred_megabytes_holds_up_no_loop(
    kept: Callable[[Path], tuple[ModelSettings, Settings]], tmp_path: Path
) -> None:
    """The whole way: read, hashed, parsed, built, checked, warm, probed, and freed."""
    wanted, settings = kept(tmp_path)

    def load_and_free() -> None:
        load_model(wanted, settings).session.close()

    load_and_free()  # libraries and the cache come before traffic
    gaps_ms = [longest_gap_ms(load_and_free) for _ in range(TRIES)]
    print([round(gap_ms, 2) for gap_ms in gaps_ms])
    assert min(gaps_ms) < GAP_MS_MAX


def test_a_thread_that_keeps_the_interpreter_is_seen() -> None:
    """The alarm rings: a call that sleeps without letting go of the GIL."""
    assert longest_gap_ms(lambda: ctypes.PyDLL(None).usleep(20_000)) > 2 * GAP_MS_MAX


def test_the_api_for_python_holds_the_loop_up_and_the_c_api_does_not() -> None:
    model = read_onnx(heavy(100))

    def built_and_freed(api: Api) -> None:
        OnnxSession(model.model_bytes, model.signature, api).close()

    with_c = [longest_gap_ms(lambda: built_and_freed(Api.C)) for _ in range(TRIES)]
    # As it is: a busy machine makes it longer, never shorter.
    with_python = [longest_gap_ms(lambda: built_and_freed(Api.PYTHON), taken_off=False) for _ in range(TRIES)]
    print([round(gap_ms, 2) for gap_ms in with_c], [round(gap_ms, 2) for gap_ms in with_python])
    assert min(with_c) < GAP_MS_MAX
    assert min(with_python) > 2 * GAP_MS_MAX
