"""docs/reference/protocol.md names every method and every datatype, and every field that an error can name."""

from __future__ import annotations

import re

import pytest

from registry_client.tensors import Datatype
from server.worker.servicers.methods import METHODS
from server.worker.servicers.open_inference import CONTENTS_FIELD
from server.worker.status import MESSAGE_CHARS_MAX
from tests.behaviour.test_bad_input import CASES
from tests.behaviour.worker_process import ROOT

PAGE = (ROOT / "docs" / "reference" / "protocol.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", METHODS)
def test_every_method_is_documented(path: str) -> None:
    assert f"| `{path}` |" in PAGE


@pytest.mark.parametrize("datatype", Datatype)
def test_every_datatype_is_documented_with_its_typed_field(datatype: Datatype) -> None:
    (row,) = [
        line for line in PAGE.splitlines() if line.startswith("| `") and f"`{datatype.name}`" in line.split("|")[1]
    ]
    assert (f"`{CONTENTS_FIELD[datatype]}`" if datatype in CONTENTS_FIELD else "none") in row


@pytest.mark.parametrize("case", CASES)
def test_every_refused_field_is_documented_with_its_status(case: str) -> None:
    _, _, code, texts = CASES[case]
    field = re.sub(r"\d+", "i", texts[0].partition(":")[0])
    field = field.removesuffix("[i]") if field.startswith("inputs") else field
    stems = {field, re.sub(r"contents\.\w+.*", "contents.X", field), field.rpartition(".")[2]}
    rows = [line for line in PAGE.splitlines() if line.startswith(f"| {code.name} |")]
    assert any(stem in row for stem in stems for row in rows), stems


def test_the_length_of_a_message_is_documented() -> None:
    assert f"at most {MESSAGE_CHARS_MAX} characters" in PAGE
