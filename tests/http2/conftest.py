"""Pairs of workers on one port, and workers that are started by a script of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from server.settings import BatchingSettings, LimitSettings, ModelSettings, ServerSettings, Settings
from tests.behaviour.served_models import BUILDERS
from tests.behaviour.worker_process import WorkerProcess


class Pair:
    """Two workers that accept from one socket."""

    def __init__(self, settings: Settings, folder: Path, stack: ExitStack) -> None:
        class First(WorkerProcess):
            workers = 2

        self.first = First("fast", settings, folder / "first.log")
        self.second = WorkerProcess("fast", settings, folder / "second.log", beside=self.first, index=1)
        self.both = (self.first, self.second)
        for worker in self.both:
            worker.__enter__()
        stack.callback(self._stop)

    @property
    def port(self) -> int:
        return self.first.port

    def _stop(self) -> None:
        for worker in self.both:
            assert worker.process is not None
            if worker.process.returncode is None:
                assert worker.stop() == 0, worker.log.read_text()
        self.first.close()


@pytest.fixture(scope="session")
def lane_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The perceptron, and a model that takes its time."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("mlp", "slow"):
        (folder / f"{name}.onnx").write_bytes(BUILDERS[name]())
    return Settings(
        server=ServerSettings(drain_timeout_s=10.0),
        batching=BatchingSettings(max_batch_size=256),
        limits=LimitSettings(message_bytes_max=64 * 1024),
        models=tuple(ModelSettings(name=name, onnx=folder / f"{name}.onnx") for name in ("mlp", "slow")),
    )


@pytest.fixture
def pair(lane_settings: Settings, tmp_path: Path) -> Iterator[Pair]:
    with ExitStack() as stack:
        yield Pair(lane_settings, tmp_path, stack)


@pytest.fixture
def scripted(lane_settings: Settings, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a worker by a script of this folder instead of by `-m server.worker`."""
    with ExitStack() as stack:

        def start(script: str, *arguments: str) -> WorkerProcess:
            worker = WorkerProcess("fast", lane_settings, tmp_path / "log")
            worker.program = (str(Path(__file__).with_name(script)), *arguments)
            return stack.enter_context(worker)

        yield start
