"""Both clients against Roost itself, by either listener: arrays, metadata, readiness and refusals."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import roost
from benchmarks.models import mlp_model
from benchmarks.servers import REPOSITORY, Served
from roost import errors

README = (REPOSITORY / "clients" / "python" / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
EXAMPLES = [block for block in BLOCKS if "127.0.0.1:8001" in block]  # the others ask no server
ROWS = np.random.default_rng(5).standard_normal((37, 32)).astype(np.float32)

ECHOED = {
    "bool": np.array([[True, False], [False, True], [True, True]]),
    **{
        kind: np.array([[np.iinfo(kind).min, 0], [1, 2], [3, np.iinfo(kind).max]], kind)
        for kind in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
    },
    **{
        kind: np.array([[0.5, -0.0], [np.inf, -np.inf], [np.nan, np.finfo(kind).max]], kind)
        for kind in ("float16", "float32", "float64")
    },
    "text": np.array([[b"a", b""], ["ä".encode(), b"c"], [b"d", b"\xf0\x9f\x90\x93"]], dtype=object),
}


@pytest.fixture
def client(roost_server: Served):
    with roost.Client(roost_server.target) as client:
        yield client


@pytest.fixture(scope="module")
def scores() -> np.ndarray:
    return ort.InferenceSession(mlp_model()).run(None, {"features": ROWS})[0]


@pytest.mark.parametrize("rows", [1, 2, 37])
def test_a_prediction_is_bare_onnx_runtimes(client: roost.Client, scores: np.ndarray, rows: int):
    prediction = client.predict("mlp", {"features": ROWS[:rows]})
    assert list(prediction.outputs) == ["scores"]
    assert prediction["scores"].dtype == np.float32
    assert prediction["scores"].shape == (rows, 2)
    np.testing.assert_allclose(prediction["scores"], scores[:rows], rtol=1e-5, atol=1e-6)
    assert (prediction.model, prediction.variant) == ("mlp", "stable")
    assert re.fullmatch("[0-9a-f]{12}", prediction.digest_prefix)


async def test_an_asyncio_prediction_is_bare_onnx_runtimes(roost_server: Served, scores: np.ndarray):
    async with roost.aio.Client(roost_server.target) as client:
        prediction = await client.predict("mlp", {"features": ROWS}, routing_key="k", outputs=["scores"])
        np.testing.assert_allclose(prediction["scores"], scores, rtol=1e-5, atol=1e-6)
        assert await client.is_live()
        assert await client.is_ready()
        assert await client.is_ready("mlp")
        assert (await client.model_metadata("mlp")).name == "mlp"
        assert (await client.server_metadata()).name


def test_rows_of_any_stride_and_byte_order_are_the_same_rows(client: roost.Client, scores: np.ndarray):
    for rows in (np.asfortranarray(ROWS), ROWS.astype(">f4"), np.repeat(ROWS, 2, axis=1)[:, ::2], ROWS[::-1][::-1]):
        prediction = client.predict("mlp", {"features": rows})
        np.testing.assert_allclose(prediction["scores"], scores, rtol=1e-5, atol=1e-6)


def test_every_type_comes_back_as_it_went(client: roost.Client):
    prediction = client.predict("echo", ECHOED)
    assert sorted(prediction.outputs) == sorted(f"{name}_echo" for name in ECHOED)
    for name, sent in ECHOED.items():
        back = prediction[f"{name}_echo"]
        assert back.dtype == sent.dtype, name
        np.testing.assert_array_equal(back, sent, err_msg=name)


def test_wanted_outputs_alone_come_back(client: roost.Client):
    prediction = client.predict("echo", ECHOED, outputs=["int8_echo", "text_echo"])
    assert sorted(prediction.outputs) == ["int8_echo", "text_echo"]


def test_a_scalar_comes_back_as_a_scalar(client: roost.Client):
    back = client.predict("scalar", {"x": np.float32(2.5)})["x_echo"]
    assert (back.shape, back.dtype, float(back)) == ((), np.float32, 2.5)


def test_metadata_lists_what_a_model_takes_and_gives(client: roost.Client):
    described = client.model_metadata("mlp")
    assert described.inputs == (roost.TensorMetadata("features", "FP32", (-1, 32)),)
    assert described.outputs == (roost.TensorMetadata("scores", "FP32", (-1, 2)),)
    assert client.model_metadata("scalar").inputs == (roost.TensorMetadata("x", "FP32", ()),)
    assert client.server_metadata().version


def test_the_version_that_metadata_names_can_be_asked_for(client: roost.Client, scores: np.ndarray):
    (version,) = client.model_metadata("mlp").versions
    prediction = client.predict("mlp", {"features": ROWS}, version=version)
    assert prediction.version == version
    np.testing.assert_allclose(prediction["scores"], scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "kind", "names"),
    [
        (("nobody", {"features": ROWS}), errors.ModelNotFound, "nobody"),
        (("mlp", {"features": ROWS.astype(np.float64)}), errors.InvalidInput, "FP64"),
        (("mlp", {"features": ROWS[:, :31]}), errors.InvalidInput, "31"),
        (("mlp", {"rows": ROWS}), errors.InvalidInput, "features"),
        (("mlp", {}), errors.InvalidInput, "features"),
        (("mlp", {"features": ROWS, "more": ROWS}), errors.InvalidInput, "more"),
    ],
    ids=["model", "dtype", "shape", "name", "nothing", "too many"],
)
def test_a_refusal_names_what_was_wrong(client: roost.Client, arguments: tuple, kind: type, names: str):
    with pytest.raises(kind) as refused:
        client.predict(*arguments)
    assert names in str(refused.value)


def test_an_unknown_version_or_output_is_refused_by_name(client: roost.Client):
    with pytest.raises(errors.ModelNotFound, match="99"):
        client.predict("mlp", {"features": ROWS}, version="99")
    with pytest.raises(errors.InvalidInput, match="nowhere"):
        client.predict("mlp", {"features": ROWS}, outputs=["nowhere"])
    with pytest.raises(errors.ModelNotFound, match="nobody"):
        client.model_metadata("nobody")


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_readmes_example_runs_as_written(example: str, roost_server: Served, tmp_path: Path):
    assert "127.0.0.1:8001" in example
    program = tmp_path / "example.py"
    program.write_text(example.replace("127.0.0.1:8001", roost_server.target))
    ended = subprocess.run(
        [sys.executable, str(program)],
        env={"PYTHONPATH": str(REPOSITORY / "clients" / "python")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
