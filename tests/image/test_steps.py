"""The Dockerfile's steps, run in an empty folder that stands for the image's root.

The default suite runs the steps that need no index: what is copied is enough to build the distribution. The slow test
runs all of them from the lock files, bakes the kernels, makes them unwritable, and serves a model as the image would.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import onnx
import pytest

from tests.image.dockerfile import Root, environment_of, exec_form, read_stages
from tests.image.read_only import read_only

ROOT = Path(__file__).parents[2]
BUILD, FINAL = read_stages((ROOT / "Dockerfile").read_text())
START_TIMEOUT_S = 120


def root_at(folder: Path) -> Root:
    folder.mkdir(parents=True, exist_ok=True)
    return Root(folder, ROOT, Path(getattr(sys, "_base_executable", sys.executable)))


def identity_model(path: Path) -> Path:
    row = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 2])
    result = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["rows", 2])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Neg", ["x"], ["y"])], "negate", [row], [result])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_what_is_copied_is_enough_to_build_the_distribution(tmp_path: Path) -> None:
    root = root_at(tmp_path / "root")
    skipped = root.run_stage(BUILD, skip=("pip",))
    assert len(skipped) == 3
    build = tmp_path / "root" / "build"
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", "dist", "."],
        cwd=build,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = (build / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    assert tops == {"native", "protos", "registry_client", "server"}
    assert any(name.endswith("entry_points.txt") for name in names)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_image_serves_from_kernels_that_nobody_can_write(tmp_path: Path) -> None:
    root = root_at(tmp_path / "root")
    root.run_stage(BUILD)
    for folder in ("var/cache/roost", "serving"):
        (root.folder / folder).mkdir(parents=True)
    skipped = root.run_stage(FINAL, skip=("apt-get",))
    assert len(skipped) == 1
    kernels = root.folder / "opt" / "roost" / "kernels"
    assert list(kernels.rglob("*.nbi")), "`roost warm` left no kernels"
    before = sorted(kernels.rglob("*"))

    ready_file = root.folder / "serving" / "ready.json"
    model = identity_model(root.folder / "serving" / "negate.onnx")
    command = exec_form(FINAL.all("ENTRYPOINT")[0])
    for index, word in enumerate(command):
        command[index] = word.replace("0.0.0.0:8001", "127.0.0.1:0").replace("0.0.0.0:8002", "127.0.0.1:0")
    command += ["--admin", "127.0.0.1:0", "--ready-file", str(ready_file), "--onnx", f"negate={model}"]
    environment = root.environment(environment_of(FINAL))
    log_file = root.folder / "serving" / "log"
    with read_only(kernels), log_file.open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=root.folder / "serving")
        try:
            started = time.monotonic()
            while not ready_file.exists():
                assert server.poll() is None, log_file.read_text()[-3000:]
                assert time.monotonic() - started < START_TIMEOUT_S, log_file.read_text()[-3000:]
                time.sleep(0.1)
            target = json.loads(ready_file.read_text())["listen"]
            probe = [*exec_form(FINAL.all("HEALTHCHECK")[0])[:-1], target]
            assert subprocess.run(probe, env=environment, check=False).returncode == 0
        finally:
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
    assert sorted(kernels.rglob("*")) == before, "kernels were compiled again although the image has them"
