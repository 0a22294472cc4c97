"""What counts as a server's delivery: signed by the shared secret, of now, and an event."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.refusal import Refusal
from pipelines.retraining.delivery import (
    BODY_BYTES_MAX,
    TEXT_CHARACTERS_MAX,
    TOLERANCE_S,
    NoEvent,
    Unsigned,
    key_of,
    read_alert,
    verified_id,
)
from server.control.webhooks.delivery import DETAIL_BYTES_MAX, document
from server.control.webhooks.delivery import TEXT_CHARACTERS_MAX as SENT_CHARACTERS_MAX
from server.control.webhooks.signing import signed_headers
from tests.pipelines.retraining.relay import drift_body

KEY = b"a key of enough bytes"
NOW_S = 1_800_000_000
BODY = drift_body()


def headers(body: bytes = BODY, *, id_: str = "evt_1", at_s: int = NOW_S, key: bytes = KEY) -> dict[str, str]:
    return dict(signed_headers(key, id_, at_s, body))


@given(body=st.binary(max_size=200), id_=st.from_regex(r"\A[!-~]{1,60}\Z"), key=st.binary(min_size=16, max_size=64))
def test_what_a_server_signs_is_its_own_whatever_it_sends(body: bytes, id_: str, key: bytes) -> None:
    assert verified_id([key], headers(body, id_=id_, key=key), body, NOW_S) == id_


@given(place=st.integers(0, len(BODY) - 1), change=st.integers(1, 255))
def test_a_body_that_was_changed_anywhere_is_refused(place: int, change: int) -> None:
    changed = bytes([*BODY[:place], BODY[place] ^ change, *BODY[place + 1 :]])
    with pytest.raises(Unsigned, match="expected a signature by the shared secret"):
        verified_id([KEY], headers(), changed, NOW_S)


@pytest.mark.parametrize(
    ("name", "value"),
    [("webhook-id", "evt_2"), ("webhook-timestamp", str(NOW_S + 1)), ("webhook-signature", "v1,bm90IGl0")],
)
def test_a_header_that_was_changed_is_refused(name: str, value: str) -> None:
    with pytest.raises(Unsigned, match="expected a signature by the shared secret"):
        verified_id([KEY], {**headers(), name: value}, BODY, NOW_S)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
@pytest.mark.parametrize("value", [None, "", "\xe9", "a b" * 100])
def test_without_a_header_of_its_form_nothing_is_signed(name: str, value: str | None) -> None:
    given = {**headers(), name: value}
    with pytest.raises(Unsigned, match="expected"):
        verified_id([KEY], {key: one for key, one in given.items() if one is not None}, BODY, NOW_S)


def test_a_signature_of_another_version_does_not_count() -> None:
    other = headers()["webhook-signature"].replace("v1,", "v1a,")
    with pytest.raises(Unsigned, match="signature"):
        verified_id([KEY], {**headers(), "webhook-signature": other}, BODY, NOW_S)


def test_while_a_secret_is_changed_either_counts_and_one_of_several_signatures_is_enough() -> None:
    new = b"another key of enough bytes"
    assert verified_id([new, KEY], headers(), BODY, NOW_S) == "evt_1"
    both = f"v1,bm90IGl0 {headers(key=new)['webhook-signature']}"
    assert verified_id([new], {**headers(), "webhook-signature": both}, BODY, NOW_S) == "evt_1"


@pytest.mark.parametrize("off_s", [-TOLERANCE_S, 0, TOLERANCE_S])
def test_an_attempt_within_the_tolerance_counts_on_either_side(off_s: int) -> None:
    assert verified_id([KEY], headers(at_s=NOW_S + off_s), BODY, NOW_S) == "evt_1"


@pytest.mark.parametrize("off_s", [-TOLERANCE_S - 1, TOLERANCE_S + 1, -NOW_S])
def test_an_attempt_beyond_it_is_refused_though_it_is_signed(off_s: int) -> None:
    with pytest.raises(Unsigned, match="Compare both clocks"):
        verified_id([KEY], headers(at_s=NOW_S + off_s), BODY, NOW_S)


def test_a_stranger_is_not_told_how_our_clock_stands() -> None:
    with pytest.raises(Unsigned, match="shared secret"):
        verified_id([b"another key of enough bytes"], headers(at_s=0), BODY, NOW_S)


# --- Secrets ---------------------------------------------------------------------------------------------------------
def test_a_secret_as_standard_webhooks_writes_it_is_the_key_behind_the_prefix() -> None:
    assert key_of(b"whsec_" + base64.b64encode(KEY) + b"\n") == KEY
    assert key_of(b"  " + KEY + b"\n") == KEY


@pytest.mark.parametrize("secret", [b"", b"short", b"whsec_" + base64.b64encode(b"short"), b"whsec_not base64 at all!"])
def test_a_secret_that_is_none_is_refused_and_not_shown(secret: bytes) -> None:
    with pytest.raises(Refusal, match="--secret-file: expected") as refused:
        key_of(secret)
    assert not secret or secret.decode() not in str(refused.value)


# --- Events ----------------------------------------------------------------------------------------------------------
def test_an_event_is_read_as_the_server_wrote_it() -> None:
    alert = read_alert("evt_1", BODY)
    assert (alert.kind, alert.model, alert.signal) == ("drift", "employment", "inputs")
    assert (alert.text, alert.at_utc) == ("inputs have drifted in the last day.", "2027-01-15T08:00:00.000Z")


def test_an_event_whose_detail_was_left_out_is_still_one() -> None:
    body = document("evt_1", "2027-01-15T08:00:00.000Z", "drift", "employment", "t", {"a": "x" * 40_000}).encode()
    assert read_alert("evt_1", body).signal == ""


def test_the_longest_event_that_a_server_sends_is_short_enough() -> None:
    detail = {"signal": "x" * (DETAIL_BYTES_MAX - 20)}
    longest = document("e" * 200, "t" * 30, "quarantine", "m" * 100, "\U0001f525" * SENT_CHARACTERS_MAX, detail)
    assert DETAIL_BYTES_MAX + 12 * SENT_CHARACTERS_MAX < len(longest) < BODY_BYTES_MAX


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
details = st.fixed_dictionaries({"signal": json_values})
documents = st.fixed_dictionaries(
    {}, optional=dict.fromkeys(("kind", "model", "text", "time", "detail"), json_values)
) | st.fixed_dictionaries({"kind": st.text(), "text": st.text(), "detail": details})


@given(body=st.binary(max_size=100) | documents.map(lambda document: json.dumps(document).encode()))
def test_whatever_is_signed_is_an_event_in_bounded_printable_words_or_is_refused(body: bytes) -> None:
    try:
        alert = read_alert("evt_1", body)
    except NoEvent:
        return
    for text in (alert.kind, alert.model, alert.signal, alert.text, alert.at_utc):
        assert len(text) <= TEXT_CHARACTERS_MAX
        assert text.isprintable()
        text.encode()


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b"9" * 10_000, b'"drift"', b"{}", b'{"kind": 3}', b"\xff"])
def test_what_is_no_event_is_refused(body: bytes) -> None:
    with pytest.raises(NoEvent, match=r"expected an event .* docs/reference/webhooks\.md shows one"):
        read_alert("evt_1", body)
