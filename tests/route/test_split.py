"""Which requests are the canary's: keyed and keyless shares, against the published rule and against chance."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.plane.routing import PPM
from native.route.split import BLOCK_LENGTH_MAX, BLOCK_LENGTH_MIN, block_length, drawn, key_hash, key_position, mixed
from tests.oracles import split as oracle
from tests.route.worker_of_two import WorkerOfTwo

PROTOCOL_PAGE = (Path(__file__).resolve().parents[2] / "docs/reference/protocol.md").read_text()
FORMS = {"compiled": lambda kernel: kernel, "as Python": lambda kernel: kernel.py_func}


def hashed(key: bytes) -> int:
    return int(key_hash(np.frombuffer(key + b"\0", dtype=np.uint8).copy(), 0, len(key)))


def signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


@given(st.binary(max_size=40), st.integers(-(2**63), 2**63 - 1))
def test_a_key_stands_where_the_published_rule_says(key: bytes, salt: int) -> None:
    assert hashed(key) == signed(oracle.fnv1a(key))
    assert mixed(salt) == signed(oracle.splitmix(salt))
    assert key_position(hashed(key), salt) == oracle.position(key, salt)
    assert 0 <= oracle.position(key, salt) < PPM


def test_only_the_bytes_of_the_key_count() -> None:
    text = np.frombuffer(b"before-key-after", dtype=np.uint8).copy()
    assert key_hash(text, 7, 3) == hashed(b"key")


def test_the_published_examples_are_right() -> None:
    examples = re.findall(r"^\| `([^`]*)` \| `(-?\d+)` \| (\d+) \|$", PROTOCOL_PAGE, re.M)
    assert len(examples) >= 4
    for key, salt, position in examples:
        assert key_position(hashed(key.encode()), int(salt)) == int(position), key


@pytest.mark.parametrize("ppm", [10_000, 50_000, 333_333])
def test_keyed_shares_are_what_the_weight_says_by_chi_square(ppm: int) -> None:
    worker = WorkerOfTwo()
    worker.route(ppm, salt=20_261_124)
    count = 40_000
    canaries = sum(worker.choose(hashed(b"user-%d" % key))[0] for key in range(count))
    expected = np.array([count * ppm / PPM, count * (1 - ppm / PPM)])
    chi_square = float((((np.array([canaries, count - canaries]) - expected) ** 2) / expected).sum())
    assert chi_square < 10.83, "p < 0.001 with one degree of freedom"


def test_raising_the_weight_moves_no_key_away_from_the_canary() -> None:
    worker = WorkerOfTwo()
    keys = [hashed(b"key %d" % key) for key in range(2_000)]
    before: set[int] = set()
    for ppm in (1, 10_000, 50_000, 500_000, 999_999, PPM):
        worker.route(ppm, salt=7)
        now = {key for key in keys if worker.choose(key)[0] == 1}
        assert before <= now
        before = now
    assert len(before) == len(keys)


def test_a_key_keeps_its_variant_while_the_weights_stand_and_another_rollout_has_other_keys() -> None:
    worker = WorkerOfTwo()
    keys = [hashed(b"%d" % key) for key in range(4_000)]
    chosen = []
    for salt in (1, 1, 2):
        worker.route(100_000, salt=salt)
        chosen.append({key for key in keys if worker.choose(key)[0] == 1})
    assert chosen[0] == chosen[1]
    both = len(chosen[0] & chosen[2])
    assert both < 0.3 * len(chosen[0]), "a salt of its own: one key in ten is in both"


@given(st.integers(1, PPM - 1))
def test_a_block_holds_the_share_exactly_or_there_is_none(ppm: int) -> None:
    length = block_length(ppm)
    assert length == 0 or BLOCK_LENGTH_MIN <= length <= BLOCK_LENGTH_MAX
    assert length * ppm % PPM == 0
    if PPM % ppm == 0 and PPM // ppm <= BLOCK_LENGTH_MAX:
        assert length > 0


@pytest.mark.parametrize(
    ("ppm", "length"), [(50_000, 100), (10_000, 100), (333_000, 1000), (500_000, 100), (30_000, 100)]
)
def test_keyless_shares_are_exact_at_the_end_of_every_block(ppm: int, length: int) -> None:
    worker = WorkerOfTwo()
    worker.route(ppm)
    for _ in range(50):
        assert sum(worker.choose()[0] for _ in range(length)) == length * ppm // PPM


def test_a_share_without_a_short_block_is_drawn_for_each_request() -> None:
    worker = WorkerOfTwo()
    worker.route(123_457)
    assert block_length(123_457) == 0
    count = 40_000
    canaries = sum(worker.choose()[0] for _ in range(count))
    assert abs(canaries - count * 0.123457) < 4 * (count * 0.123457 * 0.876543) ** 0.5


def test_a_runs_test_finds_no_rhythm_in_keyless_traffic() -> None:
    """Wald & Wolfowitz: too few runs were clusters, too many a fixed rhythm."""
    worker = WorkerOfTwo(seed=99)
    worker.route(50_000)
    sequence = np.array([worker.choose()[0] for _ in range(40_000)])
    ones, zeros = int(sequence.sum()), int((1 - sequence).sum())
    runs = 1 + int((sequence[1:] != sequence[:-1]).sum())
    mean = 1 + 2 * ones * zeros / (ones + zeros)
    variance = (mean - 1) * (mean - 2) / (ones + zeros - 1)
    assert abs(runs - mean) < 3.3 * variance**0.5
    every_twentieth = np.zeros(40_000, dtype=np.int64)
    every_twentieth[::20] = 1
    planted = 1 + int((every_twentieth[1:] != every_twentieth[:-1]).sum())
    assert abs(planted - mean) > 3.3 * variance**0.5, "the alarm rings"


def test_places_of_canaries_in_a_block_are_all_alike() -> None:
    worker = WorkerOfTwo(seed=5)
    worker.route(50_000)
    at = np.zeros(100)
    blocks = 2_000
    for _ in range(blocks):
        at += [worker.choose()[0] for _ in range(100)]
    expected = blocks * 0.05
    assert float(((at - expected) ** 2 / expected).sum()) < 148.2, "p < 0.001 with 99 degrees of freedom"


def test_two_workers_do_not_choose_in_step() -> None:
    one, two = WorkerOfTwo(seed=1), WorkerOfTwo(seed=2)
    for worker in (one, two):
        worker.route(50_000, salt=3)
    chosen = [[worker.choose()[0] for _ in range(2_000)] for worker in (one, two)]
    assert chosen[0] != chosen[1]
    both = int((np.array(chosen[0]) & np.array(chosen[1])).sum())
    assert both < 25, "5 of 2,000 would be usual, 100 in step"


@pytest.mark.parametrize("form", FORMS)
def test_certain_draws_are_certain(form: str) -> None:
    draw = FORMS[form](drawn)
    with np.errstate(over="ignore"):
        assert all(draw(state, 0, 5) == 0 and draw(state, 5, 5) == 1 for state in range(100))
