"""docs/guides/train-a-model.md, done as it is written: its files make an example, trained, judged and registered."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guides" / "train-a-model.md").read_text()
NEEDED = ("locks", "params.yaml", "pipelines", "registry_client")


def block(heading: str, language: str) -> str:
    """The one block of that language below a heading that contains these words."""
    (part,) = [part for part in GUIDE.split("\n## ")[1:] if heading in part.partition("\n")[0]]
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", part, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is needed, in which the guide was followed."""
    root = tmp_path_factory.mktemp("guide")
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    churn = root / "pipelines" / "churn"
    churn.mkdir()
    (churn / "__init__.py").touch()
    for heading in ("source.py", "features.py", "definition.py"):
        (churn / heading).write_text(block(heading, "python"))
    with (root / "params.yaml").open("a") as parameters:
        parameters.write("\n" + block("definition.py", "yaml"))
    definition = root / "pipelines" / "definition.py"
    examples = re.sub(r"^(EXAMPLES.*)\)$", r'\1, "churn")', definition.read_text(), count=1, flags=re.MULTILINE)
    definition.write_text(examples)
    assert '"churn")' in examples
    subprocess.run([sys.executable, "-c", block("1. Records", "python")], cwd=root, check=True)
    return root


def roost(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(checkout), str(ROOT))), "NO_COLOR": "1"}
    command = [sys.executable, "-P", "-m", "server.cli", *arguments]
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)


def test_the_guides_example_passes_every_gate_and_is_registered(checkout: Path) -> None:
    done = roost(checkout, "train", "churn", "--registry", ".roost/registry")
    assert done.returncode == 0, done.stderr
    results = checkout / ".roost" / "pipelines" / "churn"
    registered = json.loads((results / "register" / "registered.json").read_bytes())
    assert (registered["name"], registered["version"]) == ("churn", 1)
    assert "Whom to call before the month is over." in (results / "bundle" / "card.md").read_text()
    rows = json.loads((results / "evaluate" / "report.json").read_bytes())["rows"]
    assert (rows["training"], rows["evaluation"]) == (12_000, 4_000)


def test_a_value_that_the_guides_rules_forbid_stops_it_by_name(checkout: Path) -> None:
    records = pq.read_table(checkout / "records" / "churn" / "2026-08.parquet")
    keys = pa.array([90_000 + number for number in range(records.num_rows)])
    late = pa.array([75, *records["late"].to_pylist()[1:]])
    changed = records.set_column(0, "customer", keys).set_column(records.column_names.index("late"), "late", late)
    pq.write_table(changed, checkout / "records" / "churn" / "2026-09.parquet")
    done = roost(checkout, "train", "churn", "--registry", ".roost/registry", "--through", "snapshot")
    assert done.returncode == 1
    assert "churn.late (load 2026-09): expected integers 0..60, got 1 of 2,000 rows with 75" in done.stderr
