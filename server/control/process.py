"""The control process: decides, answers on the admin and the HTTP port, keeps journal and registry told.

Used by `python -m server.control`, which the parent starts again when it ends. Always: workers serve on without it, and
the next one finds in the plane what was decided; it loads no model.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Iterator
from typing import Any, Final

import uvicorn

from native.plane.layout import PLANE_CONTROL_READY, Plane
from server.control.admin import Admin
from server.control.artifact_source import ArtifactSource
from server.control.drift.exported import ExportedCollector
from server.control.drift.metrics import DriftCollector
from server.control.drift.watching import DriftWatch
from server.control.drift_page.listeners import Listeners
from server.control.drift_page.routes import routes
from server.control.driver import Driver
from server.control.http import application
from server.control.http_connection import HttpConnection
from server.control.looks import Looks
from server.control.plane_reader import PlaneReader
from server.control.trial import trials_of
from server.control.webhooks.following import Following
from server.control.webhooks.metrics import WebhookCollector
from server.control.webhooks.webhooks import Webhooks
from server.processes import ControlSpec
from server.stop_signals import StopSignals
from server.trials import Trials

log = logging.getLogger("roost.control")

NICENESS: Final = 10  # where cores are short, a decision takes a little longer, and traffic does not
HTTP_STOP_S: Final = 1  # for answers in flight: a client that does not read its own holds up no end


class HttpServer(uvicorn.Server):
    """uvicorn without signal handlers of its own: the loop below has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def control(spec: ControlSpec) -> None:
    """Answers on both ports until SIGTERM."""
    plane = Plane.attach(spec.plane_fd)
    reader = PlaneReader(plane)
    trials = Trials()
    source, try_artifact = ArtifactSource(spec.settings.registry), trials_of(spec.settings, trials)
    driver = Driver(plane, spec.settings, spec.pins, source, try_artifact)
    webhooks = Webhooks(spec.settings.webhooks, driver.folder.path, driver.alert)
    following = Following(driver.events, webhooks)
    await driver.start()  # before anything else: workers wait for the first routes
    webhooks.start()
    drift = DriftWatch(driver, plane)
    await drift.start()
    admin = Admin(reader, driver, drift, spec.admin_host, spec.admin_port)
    listeners = Listeners()
    configuration = uvicorn.Config(
        application(
            reader, driver, spec.listen, WebhookCollector(webhooks), DriftCollector(drift),
            ExportedCollector(drift, spec.settings.drift.export_features),
            drift_page=routes(drift, driver, listeners),
        ),
        http=HttpConnection, log_config=None, access_log=False, lifespan="off",
        timeout_graceful_shutdown=HTTP_STOP_S,
    )  # fmt: skip
    http = HttpServer(configuration)
    asyncio.get_running_loop().set_exception_handler(_say_in_one_line)
    signals = StopSignals()

    await admin.start()
    serving = asyncio.create_task(http.serve(sockets=[socket.socket(fileno=spec.http_fd)]))
    # None of them ends by itself.
    answering, driving, looking, watching, telling, posting = (
        asyncio.create_task(task)
        for task in (admin.follow(), driver.run(), Looks(driver).run(), drift.run(), following.run(), webhooks.run())
    )
    stopping = asyncio.create_task(signals.asked.wait())
    while not http.started and not serving.done():
        await asyncio.sleep(0.005)
    plane.words[PLANE_CONTROL_READY] = os.getpid()
    _give_way()  # only now: until it has started, nobody takes a bad canary home
    tasks = (serving, answering, driving, looking, watching, telling, posting, stopping)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)

    signals.ignore()
    http.should_exit = True
    listeners.close()
    stopping.cancel()
    # Nobody asks any more, and nobody looks whether the port still answers: then what waits is written.
    answering.cancel()
    looking.cancel()
    watching.cancel()
    await admin.stop()
    following.catch_up()
    # Beside each other: the parent waits for three seconds.
    await asyncio.gather(driver.stop(), webhooks.stop(), drift.stop(), trials.close())
    for task in (driving, telling, posting):
        task.cancel()
    for ended in await asyncio.gather(
        answering, driving, looking, watching, telling, posting, return_exceptions=True
    ):
        if isinstance(ended, Exception):
            raise ended
    await serving


def _give_way() -> None:
    """Every thread there is, and those that these will begin."""
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


def _say_in_one_line(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What no task waited for. A stranger can cause one (see `admin`), and shall not fill the log with tracebacks."""
    log.warning("%s", context["message"], extra={"fields": {"exception": repr(context.get("exception"))}})
