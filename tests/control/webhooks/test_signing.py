"""Secrets and signatures, by the snippet of docs/reference/webhooks.md."""

import base64
import re
from pathlib import Path

import pytest

from server.control.webhooks.signing import KEY_BYTES_MIN, SECRET_BYTES_MAX, SecretMissing, read_key, signed_headers
from server.settings import WebhookSettings
from tests.control.webhooks.page import verified
from tests.control.webhooks.receivers import SECRET, settings_of

URL = "https://h.example/x"
NOW_S = 1_800_000_000
KEY = bytes(range(32))
WHSEC = "whsec_" + base64.b64encode(KEY).decode()


def from_file(file: Path) -> WebhookSettings:
    return WebhookSettings(name="ops", url=URL, secret_file=file)


@pytest.mark.parametrize("secret", [SECRET, f"  {SECRET}\n", WHSEC, f"{WHSEC}\n", "\u00e4" * KEY_BYTES_MIN])
def test_what_is_signed_is_verified_by_the_snippet_of_the_page(
    secret: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("time.time", lambda: NOW_S + 200.0)
    (tmp_path / "secret").write_text(secret)
    for key in (read_key(settings_of(URL), {"HOOK_SECRET": secret}), read_key(from_file(tmp_path / "secret"), {})):
        body = b'{"a":1}'
        headers = dict(signed_headers(key, "evt_1", NOW_S, body))
        assert verified(secret, headers, body)
        assert not verified(secret, headers, body + b" ")
        assert not verified("another secret, as long", headers, body)
        for name, value in (("webhook-id", "evt_2"), ("webhook-timestamp", str(NOW_S + 1))):
            assert not verified(secret, headers | {name: value}, body)


def test_the_snippet_takes_no_delivery_that_is_old_and_none_without_a_signature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    headers = dict(signed_headers(SECRET.encode(), "evt_1", NOW_S, b"{}"))
    for age_s, good in ((299, True), (301, False), (-301, False)):
        monkeypatch.setattr("time.time", lambda age_s=age_s: float(NOW_S + age_s))
        assert verified(SECRET, headers, b"{}") is good
    monkeypatch.setattr("time.time", lambda: float(NOW_S))
    assert not verified(SECRET, {}, b"{}")
    assert not verified(SECRET, headers | {"webhook-signature": "v2," + headers["webhook-signature"][3:]}, b"{}")
    two = "v1,another " + headers["webhook-signature"]
    assert verified(SECRET, headers | {"webhook-signature": two}, b"{}"), "one of several, while a secret is replaced"


def test_the_signature_is_that_of_the_standards_own_example() -> None:
    """The vector that Standard Webhooks' libraries test with: secret, id, time, body and signature."""
    key = read_key(settings_of(URL), {"HOOK_SECRET": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})
    headers = dict(signed_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'))
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("", "secret_variable: expected the name of a variable that is set, got one that is not"),
        ("   ", "secret_variable: expected the name of a variable that is set, got one that is not"),
        ("too-short", "secret_variable: expected a secret of at least 16 bytes, got 9"),
        ("whsec_c2hvcnQ=", "secret_variable: expected a secret of at least 16 bytes, got 5"),
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!",
            "secret_variable: expected base64 behind whsec_, got something else",
        ),
    ],
)
def test_a_secret_that_signs_nothing_is_refused_and_not_shown(secret: str, says: str) -> None:
    with pytest.raises(SecretMissing, match=re.escape(says) + "$") as refused:
        read_key(settings_of(URL), {"HOOK_SECRET": secret})
    assert not secret.strip() or secret not in str(refused.value)


def test_a_secrets_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(SecretMissing, match=f"secret_file: .*{re.escape(str(path))}.*{why}"):
            read_key(from_file(path), {})
    (tmp_path / "long").write_bytes(b"x" * (SECRET_BYTES_MAX + 1))
    with pytest.raises(SecretMissing, match="secret_file: expected at most 4096 bytes"):
        read_key(from_file(tmp_path / "long"), {})
