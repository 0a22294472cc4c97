"""Webhooks over TLS, with an authority of the test's own."""

import datetime
import ipaddress
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.control.webhooks.receivers import posting, receiving, settings_of


def certificate(folder: Path, address: str) -> ssl.SSLContext:
    """A server's context, and `authority.pem` in the folder: a certificate for `address`, which signed itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "authority.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "authority.pem", folder / "key.pem")
    return context


async def test_events_go_over_tls_to_a_receiver_whose_certificate_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving(certificate(tmp_path, "127.0.0.1")) as receiver:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with posting(settings_of(receiver.url)) as room:
            room.webhooks.post("rollback", "m", "text")
            await room.until(lambda: room.view.delivered)
    assert len(receiver.received) == 1


@pytest.mark.parametrize(("address", "trusted"), [("127.0.0.1", False), ("127.0.0.2", True)])
async def test_nothing_is_sent_to_a_certificate_of_a_stranger_or_for_another_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, trusted: bool
) -> None:
    with receiving(certificate(tmp_path, address)) as receiver:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
        async with posting(settings_of(receiver.url, attempts_max=2)) as room:
            room.webhooks.post("rollback", "m", "text")
            await room.until(lambda: room.view.dropped["attempts"])
            assert room.view.last_status.startswith("its certificate is not to be trusted: ")
    assert not receiver.received
