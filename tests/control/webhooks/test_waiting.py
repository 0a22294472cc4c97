"""The queue of a receiver, on a clock that the test turns: who goes first, who waits how long, who is dropped."""

import random
from collections.abc import Iterator
from dataclasses import replace

import pytest

from server.control.webhooks.delivery import IMPORTANCE, Delivery
from server.control.webhooks.waiting import (
    ASKED_WAIT_S_MAX,
    BYTES_MAX,
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    NEWS_WAIT_S,
    RESTORED_S_MIN,
    Drop,
    Waiting,
)
from server.settings_values import WEBHOOK_KINDS, WebhookKind


def waiting_of(queue_max: int = 10, attempts_max: int = 1000, age_max_s: float = 1e9, seed: int = 1) -> Waiting:
    return Waiting(queue_max, attempts_max, age_max_s, random.Random(seed))


_numbers = iter(range(10**9))


def one(kind: WebhookKind = "alert", id_: str | None = None) -> Delivery:
    return Delivery(id_ or f"d{next(_numbers)}", kind, "{}", 0.0)


def waits(waiting: Waiting, now_s: float, failures: int) -> Iterator[float]:
    """The only delivery fails so often; how long it waits each time."""
    for _ in range(failures):
        found = waiting.next(now_s)
        assert found is not None
        delivery, wait_s = found
        now_s += wait_s
        assert waiting.next(now_s) == (delivery, 0.0)
        waiting.failed(delivery.id, now_s)
        after = waiting.next(now_s)
        assert after is not None
        yield after[1]


def test_every_kind_has_its_importance() -> None:
    assert set(IMPORTANCE) == set(WEBHOOK_KINDS)


def test_each_wait_doubles_up_to_the_longest_and_lies_between_half_and_all_of_it() -> None:
    waiting = waiting_of()
    waiting.put(one(), 0.0)
    seen = list(waits(waiting, 0.0, 40))
    for failures, wait_s in enumerate(seen):
        whole_s = min(FIRST_WAIT_S * 2**failures, LONGEST_WAIT_S)
        assert 0.5 * whole_s <= wait_s <= whole_s
    assert len(set(seen)) == len(seen), "jittered"


def test_two_receivers_that_fail_at_once_do_not_come_back_at_once() -> None:
    first, second = waiting_of(seed=1), waiting_of(seed=2)
    for waiting in (first, second):
        waiting.put(one(), 0.0)
    assert all(a != b for a, b in zip(waits(first, 0.0, 10), waits(second, 0.0, 10), strict=True))


def test_what_is_refused_holds_up_no_other_for_longer_than_the_first_wait() -> None:
    waiting = waiting_of()
    poison = one()
    waiting.put(poison, 0.0)
    now_s = 0.0
    for _ in range(20):
        good = one()
        waiting.put(good, now_s)
        while True:
            found = waiting.next(now_s)
            assert found is not None
            if found[1] > 0:
                assert found[1] <= FIRST_WAIT_S
                now_s += found[1]
            elif found[0].id == poison.id:
                waiting.failed(poison.id, now_s)
            else:
                assert found[0] == good
                waiting.taken(good.id)
                break


def test_the_order_of_events_is_kept_where_nothing_fails() -> None:
    waiting = waiting_of()
    posted = [one() for _ in range(5)]
    for delivery in posted:
        waiting.put(delivery, 0.0)
    for delivery in posted:
        assert waiting.next(1.0) == (delivery, 0.0)
        waiting.taken(delivery.id)
    assert waiting.next(1.0) is None


def test_a_new_event_shortens_a_long_rest_and_many_do_not_make_many_tries() -> None:
    waiting = waiting_of()
    waiting.put(one(), 0.0)
    assert list(waits(waiting, 0.0, 12))[-1] > NEWS_WAIT_S
    now_s = 100_000.0
    while (found := waiting.next(now_s)) is not None and found[1] > 0:
        now_s += found[1]
    assert found is not None
    waiting.failed(found[0].id, now_s)
    waiting.put(one(), now_s)
    found = waiting.next(now_s)
    assert found is not None
    assert found[1] == pytest.approx(NEWS_WAIT_S)
    waiting.put(one(), now_s + 10)
    found = waiting.next(now_s + 10)
    assert found is not None
    assert found[1] == pytest.approx(NEWS_WAIT_S - 10), "from the first of them on"


def test_how_long_a_receiver_wants_to_be_left_alone_is_honoured_within_a_bound_by_news_too() -> None:
    waiting = waiting_of()
    delivery = one()
    for asked_s, until_s in ((120.0, 120.0), (1e9, ASKED_WAIT_S_MAX)):
        waiting.put(delivery, 0.0)
        waiting.failed(delivery.id, 0.0, asked_s)
        waiting.put(one(), 0.0)
        found = waiting.next(0.0)
        assert found is not None
        assert found[1] == until_s


@pytest.mark.parametrize(
    ("kinds", "new", "goes"),
    [
        (["alert", "promote", "promote", "rollback"], "alert", 1),
        (["alert", "alert", "drift"], "alert", 0),
        (["drift", "alert"], "rollback", 0),
        (["rollback", "quarantine"], "quarantine", 0),
        (["rollback", "incident"], "promote", 2),
        (["rollback", "incident"], "rollback", 1),
    ],
)
def test_the_oldest_of_the_least_important_makes_room(kinds: list[WebhookKind], new: WebhookKind, goes: int) -> None:
    waiting = waiting_of(queue_max=len(kinds))
    posted = [one(kind) for kind in kinds]
    for delivery in posted:
        assert waiting.put(delivery, 0.0) == ()
    posted.append(one(new))
    assert waiting.put(posted[-1], 0.0) == (posted[goes],)
    assert len(waiting) == len(kinds)
    assert posted[goes] not in waiting.deliveries


def test_what_is_being_sent_does_not_make_room() -> None:
    waiting = waiting_of(queue_max=2)
    sent, other = one("promote"), one("rollback")
    waiting.put(sent, 0.0)
    waiting.put(other, 0.0)
    assert waiting.next(0.0) == (sent, 0.0)
    assert waiting.put(one("rollback"), 0.0) == (other,)


def test_the_last_attempt_is_the_last() -> None:
    waiting = waiting_of(attempts_max=3)
    delivery = one()
    waiting.put(delivery, 0.0)
    assert [waiting.failed(delivery.id, 0.0) for _ in range(3)] == [None, None, Drop.ATTEMPTS]
    assert len(waiting) == 0


def test_what_is_too_old_is_taken_out_but_not_while_it_is_being_sent() -> None:
    waiting = waiting_of(age_max_s=100.0)
    old, young = one(), one()
    waiting.put(old, 0.0)
    waiting.put(young, 50.0)
    assert list(waiting.expired(99.9)) == []
    assert waiting.next(100.0) == (old, 0.0)
    assert list(waiting.expired(120.0)) == []
    waiting.failed(old.id, 120.0)
    assert [delivery.id for delivery in waiting.expired(120.0)] == [old.id]
    assert waiting.deliveries == (young,)


@pytest.mark.parametrize("age_s", [-1e9, 0.0, 99.0, 1e9])
def test_after_a_restart_an_event_lives_on_for_a_while_whatever_the_walls_clock_says(age_s: float) -> None:
    waiting = waiting_of(age_max_s=100.0)
    delivery = one()
    waiting.restore(delivery, 1000.0, age_s)
    assert list(waiting.expired(1000.0 + RESTORED_S_MIN - 0.1)) == []
    assert waiting.next(1000.0) == (delivery, 0.0)
    waiting.failed(delivery.id, 1000.0)
    assert len(list(waiting.expired(1100.0))) == 1, "and not for longer than it may"


def test_fewer_places_after_a_restart_keep_the_most_important() -> None:
    waiting = waiting_of(queue_max=2)
    kept = [one("rollback"), one("promote"), one("quarantine")]
    assert [waiting.restore(delivery, 0.0, 0.0) for delivery in kept] == [(), (), (kept[1],)]


def test_large_bodies_make_room_for_each_other() -> None:
    waiting = waiting_of(queue_max=10_000)
    large = [replace(one("drift"), body="x" * (BYTES_MAX // 4)) for _ in range(4)]
    for delivery in large:
        assert waiting.put(delivery, 0.0) == ()
    assert waiting.put(replace(one("rollback"), body="x" * (BYTES_MAX // 2)), 0.0) == tuple(large[:2])
    waiting.taken(large[2].id)
    assert waiting.put(replace(one("drift"), body="x" * (BYTES_MAX // 4)), 0.0) == (), "what was taken is room, too"
