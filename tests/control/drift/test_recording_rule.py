"""The rules for Prometheus give the fleet the PSI that a server would compute of all its servers' rows, by promtool."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import yaml

from server.control.drift.signals import signals_of
from tests.control.drift.scraped_fleet import (
    GROUPS,
    RULES,
    SCRAPES,
    WINDOWS,
    expected,
    fleet,
    notation,
    promtool_test,
    scraped,
)
from tests.oracles import drift as oracle

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "docs" / "prometheus"
GUIDE = (ROOT / "docs" / "guides" / "drift-of-a-fleet.md").read_text()
TEST = "roost-drift.test.yml"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


def promtool(*arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL is not None
    return subprocess.run(
        [PROMTOOL, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@needs_promtool
def test_the_rules_are_whole_and_none_is_there_twice() -> None:
    checked = promtool("check", "rules", RULES)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "SUCCESS" in checked.stdout


@needs_promtool
def test_the_rules_give_the_psi_that_the_server_computes_of_all_rows(tmp_path: Path) -> None:
    shutil.copy(FOLDER / RULES, tmp_path)
    (tmp_path / TEST).write_text(promtool_test(fleet()))
    tested = promtool("test", "rules", TEST, folder=tmp_path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_the_test_that_lies_beside_the_rules_is_of_this_fleet() -> None:
    assert (FOLDER / TEST).read_text() == promtool_test(fleet()), (
        f"python -m tests.control.drift.scraped_fleet > docs/prometheus/{TEST}"
    )


@needs_promtool
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        pytest.param("increase1h + 0.5)", "increase1h + 1)", id="other smoothing of the traffic"),
        pytest.param("+ 0.5 * count", "+ 0.4 * count", id="shares that do not add up to one"),
        pytest.param("max by", "sum by", id="the reference counted once for each server"),
        pytest.param("sum by", "avg by", id="the servers' mean"),
        pytest.param("ln(", "log2(", id="bits"),
        pytest.param("[1h]", "[2h]", id="another window"),
        pytest.param("[1d]", "[12h]", id="half a day"),
        pytest.param("increase(", "rate(", id="rows a second"),
        pytest.param("_rows) - 1)", "_rows))", id="a degree of freedom too many"),
        pytest.param("model, digest, signal", "model, signal", id="digests with other bins added up"),
        pytest.param('verdict="drift"', 'verdict="quiet"', id="an alert of what is quiet"),
        pytest.param("by the last {{ $labels.window }}", "by {{ $labels.window }}", id="another text"),
    ],
)
def test_a_wrong_rule_is_found(tmp_path: Path, right: str, wrong: str) -> None:
    rules = (FOLDER / RULES).read_text()
    assert right in rules
    (tmp_path / RULES).write_text(rules.replace(right, wrong))
    shutil.copy(FOLDER / TEST, tmp_path)
    tested = promtool("test", "rules", TEST, folder=tmp_path)
    assert tested.returncode != 0
    assert "FAILED" in tested.stdout + tested.stderr


def test_what_is_expected_is_what_the_concepts_page_defines() -> None:
    servers, window = fleet()[:2], WINDOWS["1h"]
    artifact = servers[0].artifact
    found = {(one.labels["signal"], one.labels["feature"]): one for one in expected(servers, window)}
    raw = window * np.sum([server.rows for server in servers], axis=0)
    for signal in signals_of(artifact):
        for name in signal.reference.names:
            place = artifact.names.index(name)
            reference = artifact.of_feature(artifact.reference, place).tolist()
            traffic = oracle.merged(artifact.of_feature(raw, place).tolist(), reference)
            reference = oracle.merged(reference, reference)
            one = found[signal.name, name]
            assert one.psi == pytest.approx(oracle.psi(traffic, reference), rel=1e-12)
            assert one.psi0 == pytest.approx(oracle.debiased(traffic, reference, 1.0), rel=1e-12)


def test_the_fleet_s_psi_is_not_the_mean_of_its_servers() -> None:
    servers = fleet()[:2]
    alone = [{one.labels["feature"]: one.psi for one in expected([server], 12)} for server in servers]
    together = {one.labels["feature"]: one.psi for one in expected(servers, 12)}
    for name, value in together.items():
        assert abs(value / np.mean([of[name] for of in alone]) - 1) > 0.2


def test_every_series_is_there_at_every_scrape_and_only_the_restart_makes_one_fall() -> None:
    servers = fleet()
    series = scraped(servers)
    assert {len(values) for values in series.values()} == {SCRAPES + 1}
    fell = {name for name, values in series.items() if min(np.diff(values)) < 0}
    assert fell
    assert all(name.startswith("roost_drift_rows_total") and 'instance="b"' in name for name in fell)
    for server in servers:
        of = {name: values for name, values in series.items() if f'instance="{server.instance}"' in name}
        last = sum(values[-1] for name, values in of.items() if name.startswith("roost_drift_rows_total"))
        begun = sum(values[0] for name, values in of.items() if name.startswith("roost_drift_rows_total"))
        assert begun == 0
        assert last == server.fed.sum() if server.instance != "b" else 0 < last < server.fed.sum()


@pytest.mark.parametrize(
    ("values", "text"),
    [([5], "5"), ([1, 1, 1], "1+0x2"), ([0, 7, 14, 3, 6], "0+7x2 3+3x1"), ([9, 4], "9-5x1"), ([1, 2, 4], "1+1x1 4")],
)
def test_values_are_written_as_promtool_takes_them(values: list[int], text: str) -> None:
    assert notation(values) == text


def test_the_guide_names_every_record_and_every_alert_and_no_others() -> None:
    groups = yaml.safe_load((FOLDER / RULES).read_text())["groups"]
    assert [group["name"] for group in groups] == list(GROUPS)
    rules = [rule for group in groups for rule in group["rules"]]
    named = {rule.get("record") or rule["alert"] for rule in rules}
    assert set(re.findall(r"`(fleet:[a-z0-9_:]+|Roost[A-Z]\w+)`", GUIDE)) == named
