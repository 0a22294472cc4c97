"""What a loader makes once, so that its children need not; and that ONNX Runtime tells nobody what runs here."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REHEARSED = """
import os
from server.worker.models.examples import random_inputs
from server.worker.trial.rehearsal import rehearse
from server.worker.trial.tried import resident_bytes
rehearse()
before = resident_bytes()
assert len(os.listdir("/proc/self/task")) == 1, "a fork takes no other thread along"
from native.ort.session import Session
from server.worker.trial.rehearsal import _sum_of_itself
session = Session(_sum_of_itself(), ["x"], ["y"])
print(resident_bytes() - before)
"""

THROUGH_THE_C_API = """
import server
from native.ort.api import api
api()
"""
THROUGH_PYTHON = """
from benchmarks.swaps.versions import scaled
from registry_client.onnx_model import read_onnx
from registry_client.reference_run import ReferenceRun
model = read_onnx(scaled(2))
ReferenceRun(model.model_bytes, model.signature)
"""


def run(code: str, home: Path) -> str:
    """With as little around it as can be: where it looks like a build, ONNX Runtime tells nobody anything anyway."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "OMP_NUM_THREADS": "1"}
    folder = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_after_a_rehearsal_a_model_weighs_what_it_takes_by_itself(tmp_path: Path) -> None:
    """Without one, ONNX Runtime's own 8 MiB would be a model's."""
    assert int(run(REHEARSED, tmp_path)) < 2 << 20


@pytest.mark.parametrize("code", [THROUGH_THE_C_API, THROUGH_PYTHON], ids=["C", "Python"])
def test_onnx_runtime_reports_to_nobody(tmp_path: Path, code: str) -> None:
    """It would begin with a name for this machine, in a file, and a thread that uploads."""
    told = "import os; print(len(os.listdir('/proc/self/task')))"
    assert run(f"{code}\n{told}", tmp_path).strip() == "1"
    assert not list(tmp_path.rglob("*onnxruntime*"))


@pytest.mark.parametrize("package", ["server", "registry_client", "pipelines", "loadtests", "benchmarks"])
@pytest.mark.parametrize(("set_to", "found"), [(None, "1"), ("", "1"), ("0", "0")])
def test_whoever_imports_onnx_runtime_after_us_reports_nothing_either(
    tmp_path: Path, package: str, set_to: str | None, found: str
) -> None:
    before = "" if set_to is None else f"os.environ['ORT_DISABLE_TELEMETRY'] = {set_to!r}"
    code = f"import os\n{before}\nimport {package}\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(code, tmp_path).strip() == found
