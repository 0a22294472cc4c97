"""The ports: real ones from 0, refused where somebody listens, and none left open by a start that failed."""

import socket

import pytest

from server.cli import doors
from server.cli.configuration import ConfigurationError
from server.cli.doors import choose_listener, open_doors
from server.cli.sockets import held_port, listening_socket, lock_name, port_of
from server.settings import ServerSettings

ANY = "127.0.0.1:0"


def test_port_0_becomes_a_real_port() -> None:
    opened = open_doors(ServerSettings(listen=ANY, http=ANY, admin=ANY, listener="fast"))
    addresses = opened.addresses
    ports = [int(address.rpartition(":")[2]) for address in (addresses.listen, addresses.http, addresses.admin)]
    assert all(ports)
    assert len(set(ports)) == 3
    opened.close()


def test_the_fast_listener_gets_a_listening_socket() -> None:
    opened = open_doors(ServerSettings(listen=ANY, http=ANY, admin=ANY, listener="fast"))
    with socket.create_connection(("127.0.0.1", opened.listen_port), timeout=5):
        opened.close()


def test_the_grpcio_listener_gets_a_port_that_children_can_share() -> None:
    opened = open_doors(ServerSettings(listen=ANY, http=ANY, admin=ANY, listener="grpcio"))
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", opened.listen_port), timeout=5)
    with socket.socket() as child:
        child.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        child.bind(("127.0.0.1", opened.listen_port))
        child.listen()
        with socket.create_connection(("127.0.0.1", opened.listen_port), timeout=5):
            opened.close()


@pytest.mark.parametrize("take", [listening_socket, held_port])
@pytest.mark.parametrize("shared", [False, True], ids=["plain", "shared"])
def test_a_port_that_somebody_listens_on_is_refused_by_key(take, shared: bool) -> None:  # type: ignore[no-untyped-def]
    with socket.socket() as other:
        if shared:  # another server of this kind would share its port with us in silence
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{port_of(other)}"
        with pytest.raises(ConfigurationError) as refused:
            take("server.http", address)
    assert refused.value.lines == (
        f"server.http: expected a free port, got '{address}': Address already in use. "
        "Choose another, or 0 for any that is free.",
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
@pytest.mark.parametrize("take", [listening_socket, held_port])
def test_a_port_that_somebody_holds_is_refused_before_anybody_listens(take, host: str) -> None:  # type: ignore[no-untyped-def]
    with held_port("server.admin", ANY) as held, pytest.raises(ConfigurationError, match="Address already in use"):
        take("server.listen", f"{host}:{port_of(held)}")


def test_of_two_that_hold_a_port_in_the_same_moment_one_is_refused() -> None:
    with held_port("x", ANY) as free:
        address, name = f"127.0.0.1:{port_of(free)}", lock_name(free)
    with socket.socket(socket.AF_UNIX) as first:
        first.bind(name)
        with pytest.raises(ConfigurationError, match=r"server\.listen: .* Address already in use"):
            held_port("server.listen", address)
    held_port("server.listen", address).close()


@pytest.mark.parametrize("shared", [False, True], ids=["fast", "grpcio"])
def test_a_port_is_held_again_at_once_after_its_server_ended(shared: bool) -> None:
    """Its connections are in TIME_WAIT, since it was the first to close them."""
    with socket.socket() as ended:
        ended.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ended.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        ended.bind(("127.0.0.1", 0))
        ended.listen()
        address = f"127.0.0.1:{port_of(ended)}"
        with socket.create_connection(("127.0.0.1", port_of(ended)), timeout=5) as client:
            ended.accept()[0].close()
            assert client.recv(1) == b""
    held_port("server.listen", address).close()


def test_a_start_that_found_a_port_taken_leaves_none_open() -> None:
    with listening_socket("x", ANY) as other:
        free = port_of(held := listening_socket("x", ANY))
        held.close()
        settings = ServerSettings(listen=f"127.0.0.1:{free}", http=f"127.0.0.1:{port_of(other)}", admin=ANY)
        with pytest.raises(ConfigurationError, match=r"server\.http"):
            open_doors(settings)
    listening_socket("x", f"127.0.0.1:{free}").close()


def test_a_host_that_is_not_ours_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"server\.listen: expected a free port, got '192\.0\.2\.1:0'"):
        listening_socket("server.listen", "192.0.2.1:0")


def test_a_host_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"server\.listen: expected a host of this machine, got 'no such:1'"):
        listening_socket("server.listen", "no such:1")


def test_auto_takes_the_fast_lane_where_it_can() -> None:
    assert choose_listener("auto") == "fast"
    assert choose_listener("grpcio") == "grpcio"


def test_without_libnghttp2_auto_takes_grpcio_and_fast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "find_library", lambda: None)
    assert choose_listener("auto") == "grpcio"
    with pytest.raises(ConfigurationError, match=r"server\.listener: expected libnghttp2"):
        choose_listener("fast")
