"""Manifests: one spelling, one digest, and a reader that names what is wrong."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry_client import canonical_json
from registry_client.errors import ArtifactError, BadDocument
from registry_client.manifest import (
    FILE_BYTES_MAX,
    FILES_MAX,
    MANIFEST_BYTES_MAX,
    FileEntry,
    Lineage,
    Manifest,
    Tolerance,
    read_manifest,
)
from registry_client.tensors import Datatype, Signature, TensorSpec

SHA256 = "0" * 64
MANIFEST = Manifest(
    name="churn",
    files={"model.onnx": FileEntry(SHA256, 10), "golden.json": FileEntry(SHA256, 20)},
    signature=Signature(
        (TensorSpec("x", Datatype.FP32, (-1, 3)), TensorSpec("scale", Datatype.INT64, ())),
        (TensorSpec("y", Datatype.BYTES, (-1,)),),
    ),
    class_labels=("no", "yes"),
    tolerance=Tolerance(rtol=1e-4, atol=0.0),
    lineage=Lineage(data={"rows": 7}, code={"sha256": "ab"}, parameters={"rate": 0.1, "über": None}),
    meaning={"x": {"unit": "€"}},
)


def document() -> dict[str, Any]:
    return json.loads(MANIFEST.to_bytes())


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_canonical_json_reads_back_what_it_wrote_and_writes_it_the_same(value):
    written = canonical_json.encode(value)
    assert canonical_json.parse(written, "it") == value
    assert canonical_json.encode(canonical_json.parse(written, "it")) == written
    assert written.isascii()


def test_a_manifest_reads_back_equal_and_its_digest_is_the_sha256_of_its_bytes():
    written = MANIFEST.to_bytes()
    assert read_manifest(written) == MANIFEST
    assert hashlib.sha256(written).hexdigest() == MANIFEST.digest


def test_the_order_in_which_files_were_added_does_not_change_the_digest():
    turned = dict(reversed(MANIFEST.files.items()))
    assert Manifest(**{**vars(MANIFEST), "files": turned}).digest == MANIFEST.digest


@pytest.mark.parametrize(
    "respell", [lambda b: b + b"\n", lambda b: b.replace(b":", b": "), lambda b: b.replace(b"1e-", b"1E-")]
)
def test_another_spelling_of_the_same_manifest_is_refused(respell):
    respelt = respell(MANIFEST.to_bytes().replace(b"0.0001", b"1e-05"))
    assert json.loads(respelt)
    with pytest.raises(BadDocument, match="canonical JSON"):
        read_manifest(respelt)


BROKEN = [
    ("manifest.json: surprise", lambda d: d.update(surprise=1)),
    ("manifest.json: lineage.host", lambda d: d["lineage"].update(host="here")),
    ("manifest.json: meaning", lambda d: d.pop("meaning")),
    ("manifest.json: format", lambda d: d.update(format=2)),
    ("manifest.json: format", lambda d: d.update(format=True)),
    ("manifest.json: name", lambda d: d.update(name=3)),
    ("manifest.json: name", lambda d: d.update(name="../up")),
    ("manifest.json: name", lambda d: d.update(name="")),
    ("manifest.json: files", lambda d: d["files"].pop("golden.json")),
    ("manifest.json: files.model.onnx.size", lambda d: d["files"]["model.onnx"].update(size=-1)),
    ("manifest.json: files.model.onnx.size", lambda d: d["files"]["model.onnx"].update(size=FILE_BYTES_MAX + 1)),
    ("manifest.json: files.model.onnx.size", lambda d: d["files"]["model.onnx"].update(size=1.0)),
    ("manifest.json: files.model.onnx.sha256", lambda d: d["files"]["model.onnx"].update(sha256="A" * 64)),
    ("manifest.json: signature.inputs[0].datatype", lambda d: d["signature"]["inputs"][0].update(datatype="FLOAT")),
    ("manifest.json: signature.inputs[0].shape", lambda d: d["signature"]["inputs"][0].update(shape=[-2])),
    ("manifest.json: signature.inputs[0].shape", lambda d: d["signature"]["inputs"][0].update(shape=[True])),
    ("manifest.json: signature.inputs[1].name", lambda d: d["signature"]["inputs"][1].update(name="x")),
    ("manifest.json: signature.outputs", lambda d: d["signature"].update(outputs=[])),
    ("manifest.json: class_labels", lambda d: d.update(class_labels=[1, "a"])),
    ("manifest.json: class_labels", lambda d: d.update(class_labels=[True])),
    ("manifest.json: golden_tolerance.rtol", lambda d: d["golden_tolerance"].update(rtol=0.0101)),
    ("manifest.json: golden_tolerance.atol", lambda d: d["golden_tolerance"].update(atol=0.0101)),
    ("manifest.json: golden_tolerance.atol", lambda d: d["golden_tolerance"].update(atol="0")),
]


@pytest.mark.parametrize(("field", "damage"), BROKEN)
def test_a_wrong_manifest_is_refused_by_the_key_that_is_wrong(field, damage):
    damaged = document()
    damage(damaged)
    with pytest.raises(BadDocument) as refusal:
        read_manifest(canonical_json.encode(damaged))
    assert refusal.value.field == field


@pytest.mark.parametrize(
    "name", ["../model.onnx", "/etc/passwd", "a/b", "", ".", "..", ".hidden", "a\n", "manifest.json", "manifest.sha256"]
)
def test_a_file_name_that_leads_out_of_the_bundle_is_refused(name):
    damaged = document()
    damaged["files"][name] = {"sha256": SHA256, "size": 1}
    with pytest.raises(BadDocument, match="plain file names"):
        read_manifest(canonical_json.encode(damaged))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a":1,"a":1}', "manifest.json: a: expected every key once"),
        (b'{"a":NaN}', "got NaN"),
        (b'{"a":-Infinity}', "got -Infinity"),
        (b'{"a":1e999}', "got 1e999"),
        (b"[" * 100_000, "a JSON document"),
        (b'{"a":' + b"9" * 5000 + b"}", "a JSON document"),
        (b"\xff", "a JSON document"),
        (b"[]", "expected an object, got an array"),
        (b"", "a JSON document"),
    ],
)
def test_ambiguous_or_broken_json_is_refused(text, expected):
    with pytest.raises(BadDocument, match=expected.replace("[", r"\[")):
        read_manifest(text)


def test_a_manifest_over_its_limits_is_refused():
    many = document()
    many["files"].update({f"f{i}": {"sha256": SHA256, "size": 1} for i in range(FILES_MAX - 2)})
    assert len(read_manifest(canonical_json.encode(many)).files) == FILES_MAX
    many["files"]["one-more"] = {"sha256": SHA256, "size": 1}
    with pytest.raises(BadDocument, match=f"at most {FILES_MAX}"):
        read_manifest(canonical_json.encode(many))

    heavy = document()
    heavy["files"].update({f"f{i}": {"sha256": SHA256, "size": FILE_BYTES_MAX} for i in range(3)})
    with pytest.raises(BadDocument, match="bytes together"):
        read_manifest(canonical_json.encode(heavy))

    long = document()
    long["meaning"] = {"text": ""}
    long["meaning"]["text"] = "x" * (MANIFEST_BYTES_MAX - len(canonical_json.encode(long)))
    read_manifest(canonical_json.encode(long))
    long["meaning"]["text"] += "x"
    with pytest.raises(BadDocument, match=f"at most {MANIFEST_BYTES_MAX} bytes"):
        read_manifest(canonical_json.encode(long))


@given(st.text(), st.text())
def test_a_refusal_is_one_line_whatever_is_quoted(field, got):
    assert len(str(ArtifactError(field, expected="a", got=got, hint="b")).splitlines()) == 1
