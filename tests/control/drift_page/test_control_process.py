"""The control process with a page that listens: it ends as soon as it is told to."""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from native.plane.layout import PLANE_CONTROL_READY, Plane
from server.cli.children import CONTROL_COMMAND
from server.cli.sockets import held_port, listening_socket, port_of
from server.processes import ControlSpec, ModelPin
from server.settings import Settings

LIMIT_S = 30.0


def test_a_listener_does_not_hold_up_the_end_of_the_process(tmp_path: Path) -> None:
    plane = Plane.create(1)
    web, admin = listening_socket("http", "127.0.0.1:0"), held_port("admin", "127.0.0.1:0")
    spec = ControlSpec(
        http_fd=web.fileno(),
        admin_host="127.0.0.1",
        admin_port=port_of(admin),
        listen="127.0.0.1:1",
        plane_fd=plane.fd,
        settings=Settings.model_validate({"models": [{"name": "m", "onnx": str(tmp_path / "m.onnx")}]}),
        pins=(ModelPin(name="m", version="file", digest="a" * 64),),
    )
    process = subprocess.Popen(CONTROL_COMMAND, stdin=subprocess.PIPE, pass_fds=(web.fileno(), plane.fd))
    try:
        assert process.stdin is not None
        with process.stdin as pipe:
            pipe.write(spec.model_dump_json().encode())
        deadline = time.monotonic() + LIMIT_S
        while plane.words[PLANE_CONTROL_READY] != process.pid:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        address = f"http://127.0.0.1:{port_of(web)}/drift/events?model=m"
        with urllib.request.urlopen(address, timeout=LIMIT_S) as answer:
            while not answer.readline().startswith(b"data: "):
                pass
            process.send_signal(signal.SIGTERM)
            assert process.wait(LIMIT_S) == 0
            assert answer.read().strip() == b"", "it was brought to its end in whole"
    finally:
        process.kill()
        process.wait()
        web.close()
        admin.close()
