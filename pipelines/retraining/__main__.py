"""`python -m pipelines.retraining`: takes a Roost server's drift alerts and starts the workflow that trains anew.

Runs until it is stopped, beside the servers, behind something that speaks TLS where they are elsewhere. Always: it is
started with all that it needs, or ends at once with what is missing.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path
from typing import Final

import uvicorn

from pipelines.definition import EXAMPLES
from pipelines.refusal import Refusal
from pipelines.retraining.admission import Admission
from pipelines.retraining.github import API, GitHub
from pipelines.retraining.receiver import PATH, Receiver

LISTEN: Final = "127.0.0.1:8010"
QUIET_S: Final = 21_600.0
CONNECTIONS_MAX: Final = 64
PORT_MAX: Final = 65_535


def main() -> None:
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        host, port = _address(arguments.listen)
        github = GitHub(arguments.api, arguments.repository, arguments.token_file)
        receiver = Receiver(github, Admission(arguments.model or EXAMPLES, arguments.quiet_s), arguments.secret_file)
        github.check()
        receiver.keys()
    except Refusal as refusal:
        print(f"retraining: {refusal}", file=sys.stderr)
        raise SystemExit(1) from None
    _serve(receiver, host, port)


def _serve(receiver: Receiver, host: str, port: int) -> None:
    """Until SIGINT or SIGTERM; what is being answered is answered first."""
    configuration = uvicorn.Config(
        receiver.application(),
        host=host,
        port=port,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=10,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    socket = configuration.bind_socket()
    socket.listen(configuration.backlog)  # so that the next line is true
    print(f"retraining: listening on http://{host}:{socket.getsockname()[1]}{PATH}", flush=True)
    uvicorn.Server(configuration).run(sockets=[socket])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.retraining",
        description="Turn a Roost server's drift alerts into GitHub dispatches, which start a training.",
    )
    add = parser.add_argument
    add("--repository", required=True, metavar="OWNER/NAME", help="whose workflow trains")
    add("--token-file", required=True, type=Path, metavar="FILE", help="a token that may write its contents")
    add("--secret-file", required=True, type=Path, action="append", metavar="FILE",
        help="the webhook's secret; given twice, either counts: to change it")  # fmt: skip
    add("--model", action="append", metavar="NAME", help=f"a model to train anew (default: {', '.join(EXAMPLES)})")
    add("--quiet-s", type=_seconds, default=QUIET_S, metavar="SECONDS",
        help=f"after a model's training was asked for, none for so long (default: {QUIET_S:g})")  # fmt: skip
    add("--listen", default=LISTEN, metavar="HOST:PORT", help=f"where deliveries come in (default: {LISTEN})")
    add("--api", default=API, metavar="URL", help=f"GitHub's, or your enterprise server's (default: {API})")
    return parser


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"expected seconds from 0, got {text!r}")
    return seconds


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise Refusal("--listen", expected="HOST:PORT", got=repr(text[:80]), hint="--help.")
    return host.strip("[]"), int(port)


if __name__ == "__main__":
    main()
