"""Commands that look: status, evidence, explain, events. They change nothing."""

from __future__ import annotations

import sys
import threading
import time
from typing import Annotated, Any

import typer

from server.cli.operators.options import Look, Window, looks

QUIET_S = 1.0  # events that are kept come at once
WATCH_S = 2.0
FIRST_SEQUENCE = 1  # below every event's: see WatchEventsRequest, where 0 stands for those to come


@looks()
def status(
    look: Look,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", show_default=False, help="All of this one; none: a table of all.")
    ] = "",
) -> None:
    """Show what is served: versions, shares, plans, quarantine, alerts.

    \b
    roost status
    roost status churn --json
    """
    from protos.roost.v1 import admin_pb2
    from server.cli.operators.admin_port import connected
    from server.cli.operators.documents import document, print_json

    with connected(look) as port:
        if model:
            reply = port.ask("DescribeModel", admin_pb2.DescribeModelRequest(model=model))
        else:
            reply = port.ask("ListModels", admin_pb2.ListModelsRequest())
    if look.as_json:
        print_json(document(reply))
    elif model:
        from server.cli.operators.sentences import model_lines

        print("\n".join(model_lines(reply)))
    else:
        from server.cli.operators.tables import print_models

        print_models(reply.models)
        for alert in reply.alerts:
            print(f"roost: {alert}", file=sys.stderr)


@looks()
def evidence(
    look: Look, model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="The model's name.")]
) -> None:
    """Show what was counted for and against the canary, or the last one, and what follows from it.

    \b
    roost evidence churn
    """
    from protos.roost.v1 import admin_pb2
    from server.cli.operators.admin_port import connected
    from server.cli.operators.documents import document, print_json

    with connected(look) as port:
        reply = port.ask("GetEvidence", admin_pb2.GetEvidenceRequest(model=model))
    if look.as_json:
        print_json(document(reply))
        return
    from server.cli.operators.tables import print_evidence

    if reply.HasField("canary"):
        print(f"{model}, version {reply.canary.version}:")
    print("\n".join(reply.words))
    print_evidence(reply)


@looks()
def explain(
    look: Look, model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="The model's name.")]
) -> None:
    """Say in plain words why the last decision was taken, and what would change it.

    \b
    roost explain churn
    """
    from protos.roost.v1 import admin_pb2
    from server.cli.operators.admin_port import connected
    from server.cli.operators.documents import document, print_json

    with connected(look) as port:
        reply = port.ask("Explain", admin_pb2.ExplainRequest(model=model))
    if look.as_json:
        print_json(document(reply))
    else:
        print("\n".join(reply.words))


@looks()
def drift(
    look: Look,
    model: Annotated[str, typer.Argument(metavar="MODEL", show_default=False, help="The model's name.")],
    window: Annotated[
        Window, typer.Option("--window", help="Which windows: of the last whole minute, hour, day or week.")
    ] = Window.HOUR,
    feature: Annotated[
        str, typer.Option("--feature", metavar="NAME", help="Draw this feature, reference beside traffic.")
    ] = "",
    watch: Annotated[bool, typer.Option("--watch", help="Go on, with what each minute brings, until Ctrl-C.")] = False,
) -> None:
    """Show whether what the model is given, and answers, is still what it was trained on; features of concern first.

    \b
    roost drift churn
    roost drift churn --window minute --watch
    roost drift churn --feature age
    """
    from protos.roost.v1 import admin_pb2
    from server.cli.operators.admin_port import connected
    from server.cli.operators.documents import document, print_json
    from server.cli.operators.drift_tables import print_drift, print_feature

    request = admin_pb2.GetDriftRequest(model=model, counts_of=window.value if feature or look.as_json else "")
    with connected(look) as port:
        shown: bytes | None = None
        try:
            while True:
                reply = port.ask("GetDrift", request)
                before, shown = shown, _ended(reply)
                if before == shown:
                    pass  # no window has ended since
                elif look.as_json:
                    print_json(document(reply))
                elif feature:
                    if not print_feature(reply, feature, window.value):
                        raise typer.Exit(1)
                else:
                    print_drift(reply, window.value, clear=watch)
                if not watch:
                    return
                time.sleep(WATCH_S)
        except KeyboardInterrupt:
            return


@looks()
def events(
    look: Look,
    model: Annotated[
        str, typer.Argument(metavar="MODEL", show_default=False, help="This model's only; none: all.")
    ] = "",
    follow: Annotated[bool, typer.Option("--follow", help="Go on with those to come, until Ctrl-C.")] = False,
    after: Annotated[
        int, typer.Option("--after", metavar="N", min=0, help="Only those with a higher number.", show_default=False)
    ] = FIRST_SEQUENCE,
) -> None:
    """Show what has happened: decisions, loads, verdicts, alerts. With --json, one document a line.

    \b
    roost events --follow
    roost events churn --json --after 1764000000000000
    """
    import grpc

    from protos.roost.v1 import admin_pb2
    from server.cli.operators.admin_port import connected

    with connected(look) as port:
        # So that a wrong name, or a silent server, is found before it is waited for.
        if model:
            port.ask("DescribeModel", admin_pb2.DescribeModelRequest(model=model))
        else:
            port.ask("ListModels", admin_pb2.ListModelsRequest())
        stream = port.watch(admin_pb2.WatchEventsRequest(after_sequence=max(after, FIRST_SEQUENCE), model=model))
        over = _Quiet(stream, None if follow else QUIET_S)
        last = after
        try:
            for event in stream:
                over.again()
                last = event.sequence
                _print_event(event, look.as_json)
            port.watching_ended()
        except grpc.RpcError as error:
            if not over.reached:
                port.watching_failed(error, 0 if last == FIRST_SEQUENCE else last)
        except KeyboardInterrupt:
            stream.cancel()
        finally:
            over.stop()


class _Quiet:
    """Ends a stream once nothing has come for a while; never with None."""

    def __init__(self, stream: Any, quiet_s: float | None) -> None:
        self._stream = stream
        self._quiet_s = quiet_s
        self._timer: threading.Timer | None = None
        self.reached = False
        self.again()

    def again(self) -> None:
        self.stop()
        if self._quiet_s is not None:
            self._timer = threading.Timer(self._quiet_s, self._end)
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _end(self) -> None:
        self.reached = True
        self._stream.cancel()


def _print_event(event: Any, as_json: bool) -> None:
    if as_json:
        from server.cli.operators.documents import document, print_json

        print_json(document(event))
    else:
        print(f"{event.at_utc}  {event.sequence}  {event.model or '-'}  {event.kind}: {event.text}", flush=True)


COMMANDS = (status, evidence, explain, drift, events)


def _ended(reply: Any) -> bytes:
    """What is told anew once a window has ended, or the canary's verdict is another: not each of its rows."""
    known = type(reply)()
    known.CopyFrom(reply)
    del known.counts[:]
    whose, reason = known.canary.whose, known.canary.reason
    known.canary.Clear()
    known.canary.whose, known.canary.reason = whose, reason
    return bytes(known.SerializeToString(deterministic=True))
