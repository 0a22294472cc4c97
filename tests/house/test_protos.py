"""Generated modules are what the compiler makes of the `.proto` files that stand beside them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = sorted(
    path.relative_to(ROOT / "protos") for path in (ROOT / "protos").rglob("*_pb2*") if path.suffix in {".py", ".pyi"}
)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("protos")
    subprocess.run(["make", "protos", f"OUT={out}"], cwd=ROOT, check=True, capture_output=True, text=True)
    return out


def test_every_proto_file_has_its_generated_modules() -> None:
    sources = {path.relative_to(ROOT / "protos").with_suffix("") for path in (ROOT / "protos").rglob("*.proto")}
    assert sources
    assert {str(path).removesuffix("_pb2.py") for path in GENERATED if str(path).endswith("_pb2.py")} == {
        str(source) for source in sources
    }


@pytest.mark.parametrize("module", GENERATED, ids=str)
def test_a_generated_module_is_what_make_protos_writes_today(module: Path, fresh: Path) -> None:
    committed = (ROOT / "protos" / module).read_text()
    assert committed == (fresh / module).read_text(), f"protos/{module} is stale: run `make protos` and commit"
