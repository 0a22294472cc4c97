"""A Roost server's webhook, the relay, and GitHub: what goes through, what does not, and what each is told."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from pipelines.retraining import receiver as receiver_module
from pipelines.retraining.delivery import BODY_BYTES_MAX
from tests.control.webhooks.receivers import (
    SECRET,
    HttpReceiver,
    PlayedClock,
    Received,
    Reply,
    free_port,
    posting,
    receiving,
    settings_of,
)
from tests.pipelines.retraining.relay import (
    REPOSITORY,
    TOKEN,
    Relay,
    Switch,
    drift_body,
    headers_of,
    relay_of,
    serving,
)


@pytest.fixture
def github() -> Iterator[HttpReceiver]:
    with receiving() as one:
        yield one


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Switch, str]]:
    with serving() as one:
        yield one


@pytest.fixture
def relay(served: tuple[Switch, str], github: HttpReceiver, tmp_path: Path) -> Relay:
    return relay_of(served, github, tmp_path)


def in_turn(*replies: Reply) -> Callable[[Received], Reply]:
    left = list(replies)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def models_asked(github: HttpReceiver) -> list[str]:
    return [json.loads(one.body)["client_payload"]["model"] for one in github.received]


# --- From a real sender ----------------------------------------------------------------------------------------------
async def test_drift_that_a_server_posts_asks_github_once_in_githubs_form(relay: Relay, github: HttpReceiver) -> None:
    async with posting(settings_of(relay.url, events=["drift"]), clock=relay.clock) as room:
        room.webhooks.post("drift", "employment", "inputs have drifted in the last day.", {"signal": "inputs"})
        await room.until(lambda: room.view.delivered)
    (got,) = github.received
    assert got.path == f"/repos/{REPOSITORY}/dispatches"
    assert got.headers["authorization"] == f"Bearer {TOKEN}"
    asked = json.loads(got.body)
    assert asked.keys() == {"event_type", "client_payload"}
    assert asked["event_type"] == "roost-drift"
    assert asked["client_payload"].keys() == {"model", "id", "at_utc", "text"}
    assert asked["client_payload"]["model"] == "employment"
    assert asked["client_payload"]["text"] == "inputs have drifted in the last day."


async def test_a_server_tries_on_until_github_has_taken_it_and_it_is_asked_once(
    relay: Relay, github: HttpReceiver
) -> None:
    github.answer = in_turn(Reply(500), Reply(429, {"retry-after": "120"}), Reply())
    async with posting(settings_of(relay.url), clock=relay.clock) as room:
        room.webhooks.post("drift", "employment", "inputs have drifted.", {"signal": "inputs"})
        await room.until(lambda: room.view.delivered)
        assert room.view.failures == 2
        assert max(room.clock.rests) >= 120, "what GitHub asks for is what the server waits"
    assert len(github.received) == 3
    assert len({json.loads(one.body)["client_payload"]["id"] for one in github.received}) == 1


async def test_a_token_that_github_refuses_becomes_an_alert_of_the_server(
    relay: Relay, github: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    github.answer = lambda _: Reply(404)
    async with posting(settings_of(relay.url), clock=relay.clock) as room:
        room.webhooks.post("drift", "employment", "inputs have drifted.", {"signal": "inputs"})
        await room.until(lambda: room.alerts)
    assert "502" in room.alerts["webhook ops"]
    assert "needs the permission to write the contents" in caplog.text
    assert TOKEN not in caplog.text


async def test_drift_of_a_whole_afternoon_asks_for_one_training_of_each_model(
    relay: Relay, github: HttpReceiver
) -> None:
    async with posting(settings_of(relay.url), clock=relay.clock) as room:
        for number in range(6):
            for model in ("employment", "flights"):
                room.webhooks.post("drift", model, f"{number}", {"signal": "inputs"})
        await room.until(lambda: room.view.delivered == 12)
    assert sorted(models_asked(github)) == ["employment", "flights"]


async def test_a_relay_that_was_down_is_asked_again(github: HttpReceiver, tmp_path: Path) -> None:
    port = free_port()
    clock = PlayedClock()
    async with posting(settings_of(f"http://127.0.0.1:{port}/drift"), clock=clock) as room:
        room.webhooks.post("drift", "employment", "inputs have drifted.", {"signal": "inputs"})
        await room.until(lambda: room.view.failures >= 2)
        clock.holds = True
        with serving(port) as served:
            relay_of(served, github, tmp_path, clock)
            clock.holds = False
            room.webhooks.post("drift", "flights", "inputs have drifted.", {"signal": "inputs"})
            await room.until(lambda: room.view.delivered == 2)
    assert sorted(models_asked(github)) == ["employment", "flights"]


# --- From others -----------------------------------------------------------------------------------------------------
def test_unsigned_wrongly_signed_and_late_deliveries_are_refused_and_ask_nobody(
    relay: Relay, github: HttpReceiver
) -> None:
    body = drift_body()
    changed = body.replace(b"employment", b"flights")
    answers = {
        "unsigned": relay.post(body, {"content-type": "application/json"}),
        "by another": relay.post_signed(body, secret="another secret of enough bytes"),
        "changed": relay.post(changed, headers_of(body, "evt_1", int(relay.clock.wall_s))),
        "late": relay.post_signed(body, age_s=301),
        "from the future": relay.post_signed(body, age_s=-301),
    }
    assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(answers, 401)
    assert all(answer.text.startswith("expected ") for answer in answers.values())
    assert not github.received


def test_a_delivery_that_was_caught_and_sent_again_asks_once(relay: Relay, github: HttpReceiver) -> None:
    body = drift_body()
    headers = headers_of(body, "evt_1", int(relay.clock.wall_s))
    first, second = relay.post(body, headers), relay.post(body, headers)
    assert (first.status_code, second.status_code) == (202, 200)
    relay.clock.advance(7200)  # beyond the quiet time, and beyond the tolerance
    assert relay.post(body, headers).status_code == 401
    # The server itself may send it that late: the same event is no other one.
    assert relay.post_signed(body).text == "a training was asked for by this event already\n"
    assert len(github.received) == 1


def test_a_body_that_is_too_long_is_refused_before_it_is_all_read(relay: Relay, github: HttpReceiver) -> None:
    assert relay.post_signed(b"x" * BODY_BYTES_MAX).status_code == 400
    assert relay.post_signed(b"x" * (BODY_BYTES_MAX + 1)).status_code == 413
    assert not github.received


def test_a_body_that_never_ends_is_given_up(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "BODY_S_MAX", 0.2)
    port = int(relay.url.split(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /drift HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nabc")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_sender_that_goes_away_does_no_harm(relay: Relay, github: HttpReceiver) -> None:
    port = int(relay.url.split(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"POST /drift HTTP/1.1\r\nhost: here\r\ncontent-length: 10\r\n\r\nabc")
    assert relay.post_signed(drift_body()).status_code == 202


@pytest.mark.parametrize("body", [b"", b"not JSON", b"[]", b'{"model": "employment"}'])
def test_what_is_signed_and_no_event_is_refused(relay: Relay, github: HttpReceiver, body: bytes) -> None:
    answer = relay.post_signed(body)
    assert (answer.status_code, not github.received) == (400, True)
    assert "docs/reference/webhooks.md" in answer.text


@pytest.mark.parametrize(
    "body",
    [drift_body(kind="promote"), drift_body(model="churn"), drift_body(signal="canary")],
    ids=["promotion", "another model", "canary"],
)
def test_an_event_that_no_training_answers_is_taken_and_left(relay: Relay, github: HttpReceiver, body: bytes) -> None:
    assert relay.post_signed(body).status_code == 200
    assert not github.received


def test_other_ways_and_methods_lead_nowhere(relay: Relay, github: HttpReceiver) -> None:
    root = relay.url.removesuffix("/drift")
    assert httpx.get(relay.url, trust_env=False).status_code == 405
    assert httpx.post(f"{root}/", trust_env=False).status_code == 404
    assert httpx.get(f"{root}/health", trust_env=False).text == "ok\n"
    assert not github.received


# --- Secrets, and GitHub ---------------------------------------------------------------------------------------------
def test_a_secret_that_is_replaced_is_in_force_at_once(relay: Relay) -> None:
    relay.secret_file.write_text("a new secret of enough bytes")
    assert relay.post_signed(drift_body(), secret=SECRET).status_code == 401
    assert relay.post_signed(drift_body(), secret="a new secret of enough bytes").status_code == 202


@pytest.mark.parametrize("what", ["secret_file", "token_file"])
def test_a_file_that_goes_missing_is_told_in_the_log_and_tried_again(
    relay: Relay, github: HttpReceiver, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    path: Path = getattr(relay, what)
    content = path.read_text()
    path.unlink()
    answer = relay.post_signed(drift_body())
    assert answer.status_code in (502, 503)
    assert str(path) not in answer.text
    assert f"--{what.replace('_', '-')}: expected a file that can be read" in caplog.text
    path.write_text(content)
    assert relay.post_signed(drift_body()).status_code == 202


@pytest.mark.parametrize(
    ("reply", "status", "again"),
    [
        (Reply(401), 502, None),
        (Reply(422), 502, None),
        (Reply(200), 502, None),
        (Reply(403), 502, None),
        (Reply(403, {"x-ratelimit-remaining": "0"}), 503, "60"),
        (Reply(403, {"retry-after": "30"}), 503, "30"),
        (Reply(429, {"retry-after": "999999"}), 503, "3600"),
        (Reply(503, {"retry-after": "soon"}), 503, "60"),
    ],
    ids=str,
)
def test_the_server_is_told_to_wait_only_where_waiting_helps(
    relay: Relay, github: HttpReceiver, reply: Reply, status: int, again: str | None
) -> None:
    github.answer = lambda _: reply
    answer = relay.post_signed(drift_body())
    assert (answer.status_code, answer.headers.get("retry-after")) == (status, again)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed_so_that_the_token_stays_here(
    relay: Relay, github: HttpReceiver, status: int
) -> None:
    with receiving() as elsewhere:
        github.answer = lambda _: Reply(status, {"location": elsewhere.url})
        assert relay.post_signed(drift_body()).status_code == 502
        assert not elsewhere.received


@pytest.mark.parametrize("spoken", [b"", b"no HTTP at all\r\n\r\n"], ids=["nothing", "nonsense"])
def test_a_github_that_speaks_no_http_is_asked_again_later(
    served: tuple[Switch, str], tmp_path: Path, spoken: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(spoken)

        thread = threading.Thread(target=answer)
        thread.start()
        relay = relay_of(served, HttpReceiver(port=listening.getsockname()[1]), tmp_path)
        assert relay.post_signed(drift_body()).headers["retry-after"] == "60"
        thread.join()


def test_while_one_event_is_on_its_way_to_github_another_is_told_to_come_again(
    relay: Relay, github: HttpReceiver
) -> None:
    arrived, goes_on = threading.Event(), threading.Event()

    def slow(_: Received) -> Reply:
        arrived.set()
        assert goes_on.wait(10)
        return Reply()

    github.answer = slow
    codes: list[int] = []
    first = threading.Thread(target=lambda: codes.append(relay.post_signed(drift_body("evt_1"), "evt_1").status_code))
    first.start()
    assert arrived.wait(10)
    second = relay.post_signed(drift_body("evt_2"), "evt_2")
    goes_on.set()
    first.join()
    assert (codes, second.status_code, second.headers["retry-after"]) == ([202], 503, "5")
    assert len(github.received) == 1


def test_a_delivery_is_one_line_of_the_log(relay: Relay, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "roost.retraining")
    relay.post_signed(drift_body(model="employment\nforged: 202"))
    lines = [record.getMessage() for record in caplog.records if record.name == "roost.retraining"]
    assert lines == ["event evt_1, drift of employment forged: 202: 200, nothing that a training answers"]
