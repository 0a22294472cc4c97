"""Pinning: a server answers with the models that it found at its start, whatever becomes of aliases and files."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest

from protos.inference import grpc_service_pb2 as inference
from protos.inference import grpc_service_pb2_grpc as inference_grpc
from registry_client.bundle import write_bundle
from registry_client.folder import FolderRegistry
from registry_client.golden import make_golden
from registry_client.onnx_model import read_onnx
from registry_client.registry import Version
from server.cli.pinning import PinningFailed, ServedLast, is_behind, pin_models
from server.lifecycle.documents import RolloutDocument
from server.processes import ModelPin
from server.settings import ModelSettings, RegistrySettings, Settings
from server.worker.models.loading import ModelRefused, load_model
from tests.worker.onnx_graphs import doubled

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240.0  # the first start after a change compiles all kernels
X = np.arange(8, dtype=np.float32).reshape(2, 4)


def push(folder: Path, mark: int, *aliases: str) -> Version:
    golden = make_golden(read_onnx(doubled()).signature, [({"x": X}, {"y": X + X})])
    bundle = folder / f"bundle-{mark}"
    write_bundle(bundle, name="model", model_bytes=doubled(), golden=golden, meaning={"mark": mark})
    return FolderRegistry(folder / "registry").push(bundle, aliases=aliases)


def settings_of(folder: Path, *models: ModelSettings) -> Settings:
    return Settings(registry=RegistrySettings(path=folder / "registry", cache=folder / "cache"), models=models)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_a_reference_is_pinned_to_version_and_digest_and_a_file_to_its_sha256(tmp_path: Path) -> None:
    stable = push(tmp_path, 1, "stable")
    push(tmp_path, 2)
    file = tmp_path / "bare.onnx"
    file.write_bytes(doubled())
    wanted = (ModelSettings(name="model", reference="@stable"), ModelSettings(name="bare", onnx=file))
    assert pin_models(settings_of(tmp_path, *wanted)) == (
        ModelPin(name="model", version="1", digest=stable.digest),
        ModelPin(name="bare", version="0", digest=hashlib.sha256(doubled()).hexdigest()),
    )


def test_a_bare_name_is_stable_where_there_is_one_and_else_the_newest(tmp_path: Path) -> None:
    push(tmp_path, 1)
    push(tmp_path, 2)
    settings = settings_of(tmp_path, ModelSettings(name="model"))
    assert [pin.version for pin in pin_models(settings)] == ["2"]
    FolderRegistry(tmp_path / "registry").set_alias("model", "stable", 1)
    assert [pin.version for pin in pin_models(settings)] == ["1"]


def test_all_models_that_are_not_there_are_named_at_once(tmp_path: Path) -> None:
    push(tmp_path, 1)
    wanted = (ModelSettings(name="model", reference="@canary"), ModelSettings(name="gone", onnx=tmp_path / "gone"))
    with pytest.raises(PinningFailed) as caught:
        pin_models(settings_of(tmp_path, *wanted))
    first, second = caught.value.lines
    assert first.startswith("model model: model@canary: expected an alias of model")
    assert second == f"model gone: {tmp_path / 'gone'}: No such file or directory."


@pytest.mark.parametrize(
    ("rollout", "untold", "behind"),
    [
        ((6, "a"), 7, True),
        ((6, ""), 7, True),
        ((7, "a"), 7, False),  # it knows, and somebody has moved the alias since
        ((9, "a"), 7, False),  # another server's later word
        ((6, "c"), 7, False),  # the alias is not where the document left it
        ((6, "a"), 0, False),
        (None, 7, True),
        ("somebody's own", 7, True),
        (None, 0, False),
    ],
)
def test_an_alias_is_behind_only_where_it_stands_as_before_what_the_registry_lacks(
    rollout: tuple[int, str] | str | None, untold: int, behind: bool
) -> None:
    def pin(letter: str) -> ModelPin:
        return ModelPin(name="model", version="1", digest=letter * 64)

    if isinstance(rollout, tuple):
        rollout = RolloutDocument(revision=rollout[0], stable=rollout[1] * 64).to_text()
    assert is_behind(pin("a"), rollout, ServedLast(pin("b"), untold)) is behind
    assert not is_behind(pin("b"), rollout, ServedLast(pin("b"), untold))


def test_pinning_loads_no_compiler_and_no_model_runtime(tmp_path: Path) -> None:
    """It is done by the parent, which stays as long as the server runs."""
    push(tmp_path, 1, "stable")
    settings = settings_of(tmp_path, ModelSettings(name="model", reference="@stable"))
    program = (
        "import sys; from server.cli.pinning import pin_models; from server.settings import Settings\n"
        "assert pin_models(Settings.model_validate_json(sys.stdin.read()))\n"
        "print([name for name in ('numba', 'onnxruntime', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=settings.model_dump_json(), cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


def test_an_alias_that_moves_after_the_start_does_not_change_what_is_loaded(tmp_path: Path) -> None:
    push(tmp_path, 1, "stable")
    settings = settings_of(tmp_path, ModelSettings(name="model", reference="@stable"))
    (pin,) = pin_models(settings)
    push(tmp_path, 2, "stable")
    model = load_model(settings.models[0], settings, pin)
    assert (model.version, model.digest) == (pin.version, pin.digest)


def test_what_is_pinned_and_cached_loads_without_the_registry(tmp_path: Path) -> None:
    push(tmp_path, 1, "stable")
    settings = settings_of(tmp_path, ModelSettings(name="model", reference="@stable"))
    (pin,) = pin_models(settings)
    load_model(settings.models[0], settings, pin)
    (tmp_path / "registry").rename(tmp_path / "away")
    assert load_model(settings.models[0], settings, pin).digest == pin.digest


def test_a_file_that_was_replaced_after_the_start_is_refused_naming_both_hashes(tmp_path: Path) -> None:
    file = tmp_path / "bare.onnx"
    file.write_bytes(doubled())
    settings = settings_of(tmp_path, ModelSettings(name="bare", onnx=file))
    (pin,) = pin_models(settings)
    replaced = doubled() + b"\x12\x01x"  # a field more: the producer's name
    file.write_bytes(replaced)
    with pytest.raises(ModelRefused, match="as it was when the server started") as caught:
        load_model(settings.models[0], settings, pin)
    assert all(hashlib.sha256(content).hexdigest() in str(caught.value) for content in (doubled(), replaced))
    assert load_model(settings.models[0], settings).digest == hashlib.sha256(replaced).hexdigest()


def test_a_reference_that_is_not_there_ends_the_start_with_its_reason(tmp_path: Path) -> None:
    push(tmp_path, 1)
    done = subprocess.run(serve(tmp_path, "model@canary"), cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 78
    assert " parent    error: model model: model@canary: expected an alias of model" in done.stderr


def test_with_json_logs_a_reference_that_is_not_there_is_an_event_too(tmp_path: Path) -> None:
    push(tmp_path, 1)
    command = [*serve(tmp_path, "model@canary"), "--log-format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 78
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert "model@canary: expected an alias of model" in events[-1]["message"]
    assert events[-1]["level"] == "error"


@pytest.mark.timeout(300)
def test_a_worker_that_is_started_again_serves_the_version_of_the_start_although_the_alias_moved(
    tmp_path: Path,
) -> None:
    first = push(tmp_path, 1, "stable")
    ready_file = tmp_path / "ready.json"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*serve(tmp_path, "model@stable"), "--listener", "grpcio", "--ready-file", str(ready_file)],
            cwd=ROOT,
            stderr=log,
            env=os.environ | {"ROOST_REGISTRY__CACHE": str(tmp_path / "cache")},
        )
    try:
        wait_until(lambda: ready_file.exists() or process.poll() is not None)
        assert process.poll() is None, (tmp_path / "log").read_text()
        ready = json.loads(ready_file.read_text())
        second = push(tmp_path, 2, "stable")
        os.kill(ready["workers"][0], signal.SIGKILL)
        wait_until(lambda: not psutil.pid_exists(ready["workers"][0]))
        with grpc.insecure_channel(ready["listen"]) as channel:
            stub = inference_grpc.GRPCInferenceServiceStub(channel)
            request = inference.ModelMetadataRequest(name="model")
            metadata = stub.ModelMetadata(request, timeout=LIMIT_S, wait_for_ready=True)
        assert list(metadata.versions) == ["1"]
        told = (tmp_path / "log").read_text()
        assert first.digest[:12] in told
        assert second.digest[:12] not in told
    finally:
        process.terminate()
        process.wait(60)


def serve(folder: Path, model: str) -> list[str]:
    anywhere = [part for door in ("listen", "http", "admin") for part in (f"--{door}", "127.0.0.1:0")]
    flags = ["--model", model, "--registry", str(folder / "registry"), "--workers", "1"]
    return [sys.executable, "-m", "server.cli", "serve", *anywhere, *flags]
