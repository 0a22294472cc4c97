"""A run that is no measurement is refused, and CPU time and ratios are what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import h2load
from benchmarks.__main__ import command_of
from benchmarks.bare_onnxruntime import BareModel, BatchSpeed, best
from benchmarks.batched import BatchedResult, Pair
from benchmarks.contenders import METHODS, Contender, contender, nghttpd_name, plain_name, roost_name
from benchmarks.counted import counted_name
from benchmarks.cpu_time import busy_us, cpu_us, descendants, rss_bytes
from benchmarks.h2load import Aim, Load, LoadRun, WrongRun, read_summary
from benchmarks.h2load_body import HEADERS, PREDICT_PATH
from benchmarks.machine import Machine, what_is_missing
from benchmarks.models import mlp_model
from benchmarks.report import COLUMNS, LATENCY_COLUMNS, Result, as_json, as_page
from benchmarks.runs import Cell, Measurement, Plan, cpu_ratio, throughput_ratio
from benchmarks.servers import REPOSITORY, plain_command, served
from benchmarks.targets import BUSY, ONE, Target, targets
from benchmarks.verifier import Verifier
from loadtests.verified_pool import WrongAnswer, verified_pool

AIM = Aim("http://127.0.0.1:1/x", Path("body"), HEADERS, reply_body_bytes=65)
MACHINE = Machine("cpu", 2, "6", "3.11", "0", "0", "0", "1.52.0", "h2load")
SUMMARY = """
finished in 639.82ms, 31258.74 req/s, 2.83MB/s
requests: 20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 20000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 1.81MB (1900288) total, 39.11KB (40048) headers (space savings 94.73%), 1.24MB (1300000) data
"""


def test_a_summary_is_read_to_the_digit() -> None:
    assert read_summary(SUMMARY, AIM, 20_000) == LoadRun(20_000, pytest.approx(0.63982))


@pytest.mark.parametrize(
    ("found", "said", "message"),
    [
        ("(1300000) data", "(1299935) data", "expected 1300000 bytes of DATA, .* got 1299935"),
        ("20000 succeeded, 0 failed", "19999 succeeded, 1 failed", "expected 20000 streams that end well"),
        ("0 timeout", "3 timeout", "expected 20000 streams that end well"),
        ("finished", "aborted", "was not understood"),
    ],
)
def test_a_summary_that_lacks_an_answer_is_no_measurement(found: str, said: str, message: str) -> None:
    with pytest.raises(WrongRun, match=message):
        read_summary(SUMMARY.replace(found, said), AIM, 20_000)


@pytest.mark.skipif(what_is_missing() is not None, reason=str(what_is_missing()))
def test_a_server_that_answers_errors_to_all_gets_no_figure(tmp_path: Path) -> None:
    file = tmp_path / "mlp.onnx"
    file.write_bytes(mlp_model())
    pool = verified_pool("mlp", mlp_model(), cases=1, rows_max=1, seed=1)
    with served(plain_command({"mlp": file}), tmp_path) as server:
        right = contender("plain", server, "Predict", pool, tmp_path)
        assert h2load.run(right.aim, Load(2, 4), 40).requests == 40
        times = h2load.latencies_us(right.aim, Load(2, 4), 40, tmp_path / "log")
        assert (times.shape, times.dtype) == ((40,), np.int64)
        assert times.min() > 0
        unknown = Aim(right.aim.url.replace("Predict", "Nothing"), right.aim.body, HEADERS, right.aim.reply_body_bytes)
        with pytest.raises(WrongRun, match="Some answers were errors"):
            h2load.run(unknown, Load(2, 4), 40)


def test_a_wrong_answer_beside_the_load_ends_the_run(tmp_path: Path) -> None:
    file = tmp_path / "mlp.onnx"
    file.write_bytes(mlp_model(seed=1))
    right, wrong = (verified_pool("mlp", mlp_model(seed=s), cases=4, rows_max=1, seed=1) for s in (1, 2))
    with served(plain_command({"mlp": file}), tmp_path) as server:
        with Verifier(server.target, PREDICT_PATH, right) as verifier:
            wait_for_answers(verifier, 3)
        with (
            pytest.raises(WrongAnswer, match="not what ONNX Runtime answers"),
            Verifier(server.target, PREDICT_PATH, wrong) as verifier,
        ):
            verifier.join(20)
    with pytest.raises(WrongAnswer, match="UNAVAILABLE"), Verifier(server.target, PREDICT_PATH, right) as verifier:
        verifier.join(20)


def wait_for_answers(verifier: Verifier, answers: int) -> None:
    for _ in range(200):
        if verifier.answers >= answers:
            return
        verifier.join(0.05)
    raise AssertionError(f"expected {answers} answers, got {verifier.answers}")


def test_cpu_time_is_that_of_a_process_and_of_all_below_it() -> None:
    spend = "import time\nwhile time.process_time() < 0.3: pass\nprint(flush=True)\nimport sys\nsys.stdin.read()"
    command = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {spend!r}])"
    process = subprocess.Popen([sys.executable, "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    (below,) = descendants(process.pid)
    assert cpu_us(below) == pytest.approx(300_000, rel=0.3)
    assert cpu_us(below) < cpu_us(process.pid) < cpu_us(below) + 300_000
    assert 2**20 < rss_bytes(below) < 2**28
    process.communicate(b"")
    with pytest.raises(ProcessLookupError, match="expected a running server"):
        cpu_us(process.pid)


def test_a_core_is_busy_while_something_runs_on_it() -> None:
    (core, *_) = os.sched_getaffinity(0)
    before = busy_us(core)
    spend = "import time\nwhile time.process_time() < 0.2: pass"
    subprocess.run(["taskset", "-c", str(core), sys.executable, "-c", spend], check=True)
    assert busy_us(core) - before >= 150_000


def cell(name: str, load: Load, *rounds: tuple[float, float], p50_us: float = 1.0) -> Cell:
    one = Contender(name, AIM, 1, "", "", (), "", "")
    return Cell(one, load, [Measurement(rate, cpu, 0.0) for rate, cpu in rounds], p50_us)


def test_a_ratio_is_the_median_of_the_rounds_ratios_not_the_ratio_of_medians() -> None:
    mine = cell("mine", BUSY, (100, 1), (10, 4), (60, 9))
    theirs = cell("theirs", BUSY, (200, 1), (10, 1), (100, 3))
    assert throughput_ratio(mine, theirs) == pytest.approx(0.6)
    assert cpu_ratio(mine, theirs) == 3
    assert mine.requests_per_s == 60
    assert mine.spread == pytest.approx(1.5)


def test_each_target_is_missed_when_its_figure_is_just_short() -> None:
    def judged(
        cpu: float, rate: float, plain: float, p50_us: float, share: float, counting: float = 1.05
    ) -> list[bool]:
        cells = [cell(counted_name(True), BUSY, (1.0, counting)), cell(counted_name(False), BUSY, (1.0, 1.0))]
        for method in METHODS:
            cells += [
                cell(roost_name(method), BUSY, (rate, cpu)),
                cell(nghttpd_name(method), BUSY, (1.0, 1.0)),
                cell(plain_name(method), BUSY, (plain, 1.0)),
                cell(roost_name(method), ONE, (1.0, 1.0), p50_us=p50_us),
                cell(plain_name(method), ONE, (1.0, 1.0), p50_us=100.0),
            ]
        batched = BatchedResult([], 16, [Pair(share, 1.0, 1.0, 0.0)], 0)
        return [target.passed for target in targets(cells, batched)]

    assert judged(2.0, 0.6, 0.02, 50.0, 0.9) == [True] * 10
    assert judged(2.0, 0.6, 0.02, 50.0, 0.9, 1.06) == [True] * 8 + [False, True]
    assert judged(2.01, 0.6, 0.02, 50.0, 0.9) == ([False, True, True, True] * 2) + [True, True]
    assert judged(2.0, 0.59, 0.019, 50.0, 0.9) == ([True, False, True, True] * 2) + [True, True]
    assert judged(2.0, 0.6, 0.021, 50.0, 0.9) == ([True, True, False, True] * 2) + [True, True]
    assert judged(2.0, 0.6, 0.02, 51.0, 0.9) == ([True, True, True, False] * 2) + [True, True]
    assert judged(2.0, 0.6, 0.02, 50.0, 0.89) == [True] * 9 + [False]


@pytest.mark.parametrize(
    ("row_others", "pair_others", "share", "why"),
    [
        (0.1, 0.1, 1.0, None),
        (0.11, 0.0, 0.9, "other work took 11 % of the server's core"),
        (0.0, 0.11, 0.9, "other work took 11 % of the server's core"),
        (0.0, 0.0, 1.25, "125 % of what bare ONNX Runtime can do was served, which cannot be"),
    ],
)
def test_a_disturbed_run_is_not_for_publishing(
    row_others: float, pair_others: float, share: float, why: str | None
) -> None:
    one = Contender("one", AIM, 1, "", "", (), "", "")
    cells = [Cell(one, BUSY, [Measurement(1.0, 1.0, row_others)])]
    batched = BatchedResult([], 16, [Pair(share, 1.0, 1.0, pair_others)], 0)
    found = Result(MACHINE, "make bench", cells, [], batched, []).disturbance
    assert found is None if why is None else why in str(found)


def test_the_ratios_of_latencies_are_in_the_json_and_on_the_page() -> None:
    cells = []
    for name, p50_us, p99_us in (("roost", 60.0, 90.0), ("limit", 40.0, 30.0), ("plain", 240.0, 900.0)):
        one = Contender(name, AIM, 1, "", "", (), "limit", "plain")
        cells.append(Cell(one, BUSY, [Measurement(1.0, 1.0, 0.0)], p50_us, p99_us))
    batched = BatchedResult([], 16, [Pair(1.0, 1.0, 1.0, 0.0)], 0)
    result = Result(MACHINE, "make bench", cells, [], batched, [])
    row = json.loads(as_json(result))["rows"][0]
    shown = {name: row[name] for name in ("p50_to_nghttpd", "p99_to_nghttpd", "p50_to_plain", "p99_to_plain")}
    assert shown == {"p50_to_nghttpd": 1.5, "p99_to_nghttpd": 3.0, "p50_to_plain": 0.25, "p99_to_plain": 0.1}
    page = as_page(result).splitlines()
    (line,) = (line for line in page if line.startswith("| roost |"))
    assert line.endswith("| 1.50 | 3.00 | 0.25 | 0.10 |")
    assert f"| {' | '.join((*COLUMNS, *LATENCY_COLUMNS))} |" in page


@pytest.mark.parametrize(
    ("quick", "page", "command"),
    [
        (False, None, "make bench"),
        (True, None, "make bench BENCH='--quick'"),
        (False, REPOSITORY / "docs" / "benchmarks.md", "make bench BENCH='--page docs/benchmarks.md'"),
        (False, Path("/elsewhere/page.md"), "make bench"),
    ],
)
def test_the_page_names_the_command_that_writes_it(quick: bool, page: Path | None, command: str) -> None:
    assert command_of(quick, page) == command


def test_the_published_page_names_the_command_that_writes_it() -> None:
    text = (REPOSITORY / "docs" / "benchmarks.md").read_text()
    assert "`make bench BENCH='--page docs/benchmarks.md'` writes this page." in text


def test_a_target_says_what_it_wanted() -> None:
    assert Target("x", 0.6, True, 0.5).wanted == "at least 0.6"
    assert Target("x", 2.0, False, 3.0).wanted == "at most 2"


def test_bare_onnx_runtime_is_fastest_by_rows_not_by_runs() -> None:
    assert best([BatchSpeed(1, 10.0), BatchSpeed(64, 100.0), BatchSpeed(128, 300.0)]).rows == 64
    row = np.zeros((1, 32), np.float32)
    affinity = os.sched_getaffinity(0)
    small, large = BareModel(mlp_model(), {"features": row}).speeds(0.02, (1, 256))
    assert large.rows_per_s > small.rows_per_s
    assert os.sched_getaffinity(0) == affinity


def test_a_plan_without_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="expected loads with one round or more"):
        Plan(loads=((ONE, 0),), seconds=1, latency_s=1, bare_s=1, batched_pairs=1)


def test_without_h2load_the_command_says_how_to_get_it_and_ends_with_2(tmp_path: Path) -> None:
    environment = os.environ | {"PATH": str(tmp_path)}
    command = [sys.executable, "-m", "benchmarks", "--quick"]
    ended = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert ended.stderr == "bench: h2load is not installed. Debian and Ubuntu: apt-get install nghttp2-client\n"
