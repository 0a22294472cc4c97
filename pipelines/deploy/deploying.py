"""A registered version, handed to a server and followed until it is promoted, taken back, or held.

Used by the deploy stage and by `make poison`. Always: a version that is stable already costs no server; one that could
not be watched to its end is taken back, unless it is told otherwise or somebody has taken it over; what was decided,
and on which evidence, is kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

import grpc

from pipelines.deploy import watch
from pipelines.deploy.admin_calls import AdminPort, Declined, NoAnswer
from pipelines.deploy.golden_answers import check_answers
from pipelines.deploy.interruption import stoppable
from pipelines.deploy.keeping import ROLLOUT_FILE, entries_of, keep, what_it_says
from pipelines.deploy.options import Options
from pipelines.deploy.outcome import FORMAT_VERSION, Outcome, Result
from pipelines.deploy.progress_view import View
from pipelines.deploy.rollout import Candidate, Rollout
from pipelines.deploy.server import Server, alone, serving
from pipelines.deploy.wording import evaluation_words, reason_of, uncompared
from pipelines.examples import Examples, read_examples
from pipelines.refusal import Refusal
from pipelines.stable import stable_version
from pipelines.work import Work, read_json
from protos.roost.v1 import admin_pb2
from registry_client.cache import BundleCache
from registry_client.errors import ArtifactError
from registry_client.lineage.reading import EVALUATION_FILE
from registry_client.opening import absolute_location, open_registry, shown_location
from registry_client.registry import Registry, Version
from registry_client.verify import VerifiedBundle

SERVING: Final = "serving"
PLACE_CHARACTERS: Final = 12
ASK_TRIES: Final = 5
FOLLOWS_S_MAX: Final = 15.0
LOOKED_S_MAX: Final = 15.0
POLL_S: Final = 0.2
RESULTS: Final = {
    watch.End.PROMOTED: Result.PROMOTED,
    watch.End.ROLLED_BACK: Result.ROLLED_BACK,
    watch.End.REFUSED: Result.ROLLED_BACK,
    watch.End.HELD: Result.HELD,
}


def deploy(work: Work, options: Options, view: View) -> Outcome:
    """Hands the version of `register/` to a server. Blocks until it is decided.

    Raises Refusal where it could not even be tried, and where it was asked to end, after what that takes; whatever the
    registry raises.
    """
    began_s = time.monotonic()
    registry, version = _registered(work, options.digest)
    stable = stable_version(registry, version.name)
    if stable is None:
        raise Refusal(
            f"{version.name}@stable", expected="a version to compare with", got="none in the registry",
            hint=f"Say which one is: roost pull {version.name}:{version.version} --out DIR, then "
            "roost push DIR --alias stable.",
        )  # fmt: skip
    asked = options.admin is not None or options.target is not None
    if stable.digest == version.digest and not asked and not _is_first(work, registry, version):
        reason = "It is the registry's @stable, and nothing is to be done."
        return Outcome(Result.STABLE_ALREADY, version.name, version.version, version.digest, reason)
    with alone(work.folder / SERVING, version.name):
        return asyncio.run(_Deployment(work, options, view, registry, version, began_s).run())


def _registered(work: Work, asked: str | None) -> tuple[Registry, Version]:
    """What the register stage left, found again in the registry. asked: the digest that it has to be, if any."""
    path = work.of("register") / "registered.json"
    document = read_json(path)
    again = "Run the register stage again."
    shown = shown_location(work.registry)
    if document["registry"] != shown:
        raise Refusal(str(path), expected=f"a version in {shown}", got=document["registry"], hint=again)
    if asked is not None and asked != document["digest"]:
        raise Refusal(
            str(path), expected=f"digest {asked[:12]}", got=document["digest"][:12],
            hint="Another deployment from this folder came between: run this again when it has ended.",
        )  # fmt: skip
    registry = open_registry(work.registry, must_exist=True)
    version = registry.resolve(document["name"], int(document["version"]))
    if version.digest != document["digest"]:
        raise Refusal(str(path), expected=f"digest {document['digest'][:12]}", got=version.digest[:12], hint=again)
    return registry, version


def _is_first(work: Work, registry: Registry, version: Version) -> bool:
    """Whether it is the only one, and no server was seen to serve it yet."""
    path = work.beside / ROLLOUT_FILE
    try:
        seen = path.exists() and read_json(path).get("digest") == version.digest
    except Refusal:
        seen = False  # half of one, that a kill has left: it is written anew
    return not seen and len(registry.versions(version.name)) == 1


class _Deployment:
    """Of one version. began_s: monotonic, when it was asked for."""

    def __init__(
        self, work: Work, options: Options, view: View, registry: Registry, version: Version, began_s: float
    ) -> None:
        self._work, self._options, self._view = work, options, view
        self._registry, self._version = registry, version
        self._began_s, self._began_utc = began_s, _now_utc()
        self._server_s = 0.0

    async def run(self) -> Outcome:
        """Raises Refusal, also where a signal ended it."""
        with stoppable() as signals:
            try:
                return await self._on_a_server(signals)
            except asyncio.CancelledError:
                if not signals:
                    raise
                raise self._stopped(signals, "Nothing was deployed.") from None

    async def _on_a_server(self, signals: list[str]) -> Outcome:
        name = self._version.name
        # A registry each: a state of another one's decisions is none to start from, nor is its server.
        place = hashlib.sha256(absolute_location(self._work.registry).encode()).hexdigest()[:PLACE_CHARACTERS]
        folder = (self._work.folder / SERVING / place).absolute()
        async with (
            serving(self._options, name, self._work.registry, folder, self._view.say) as server,
            AdminPort(server.admin) as port,
        ):
            self._server_s = time.monotonic() - self._began_s
            try:
                state = await self._described(port, server)
                if state.stable.digest == self._version.digest:
                    return await self._serves_it(server)
                await asyncio.to_thread(self._check_still_wanted, state)
                return await self._rolled_out(port, server, signals)
            except Declined as declined:
                raise Refusal(
                    f"{name} version {self._version.version}", expected="the server to take it as a canary",
                    got=f"{declined.code.name}: {declined.words.rstrip('.')}", hint="Traffic was not touched.",
                ) from declined  # fmt: skip
            except NoAnswer as silence:
                done = getattr(silence, "__notes__", [])
                raise Refusal(
                    f"server {server.admin}", expected="an answer", got=str(silence).rstrip("."),
                    hint=" ".join([*done, "See that it is up, then run this again: a rollout that runs is joined."]),
                ) from silence  # fmt: skip

    def _stopped(self, signals: list[str], hint: str) -> Refusal:
        what = f"deploy {self._version.name} version {self._version.version}"
        return Refusal(what, expected="to be left to its end", got=signals[0], hint=hint)

    # --- Before ------------------------------------------------------------------------------------------------------
    async def _described(self, port: AdminPort, server: Server) -> admin_pb2.ModelState:
        """The model as the server has it. Raises Refusal where it is not the server for this."""
        name, models = self._version.name, await port.models()
        another = "Or name another with --admin and --target; where none answers at the usual ports, one is started."
        if name not in models:
            raise Refusal(
                f"server {port.address}", expected=f"one that serves {name}",
                got=f"one of {', '.join(models) or 'no model'}",
                hint=f"Start it with --model {name}@stable beside the others. {another}",
            )  # fmt: skip
        if not server.own and not await self._is_followed(port):
            raise Refusal(
                f"server {port.address}", expected=f"one that follows {shown_location(self._work.registry)}",
                got=f"one that knows other versions of {name}, or none",
                hint=f"Start it with --registry. {another}",
            )  # fmt: skip
        return (await port.describe(name)).model

    def _check_still_wanted(self, state: admin_pb2.ModelState) -> None:
        """The registry's @stable is no canary: a server that serves another is behind, or another's. Raises Refusal."""
        stable = stable_version(self._registry, self._version.name)
        if stable is not None and stable.digest == self._version.digest:
            raise Refusal(
                f"{self._version.name}", expected=f"version {stable.version}, the registry's @stable, to be served",
                got=f"version {state.stable.version} by the server that was asked",
                hint=f"Nothing was tried. roost status {self._version.name} tells whether it follows that registry; "
                "a restart does.",
            )  # fmt: skip

    async def _is_followed(self, port: AdminPort) -> bool:
        """A server that has just been started has not looked at its registry yet."""
        versions = await asyncio.to_thread(self._registry.versions, self._version.name)
        deadline = time.monotonic() + LOOKED_S_MAX
        while True:
            reply = await port.describe(self._version.name)
            known = {one.artifact.version: one.artifact.digest for one in reply.versions}
            if known or time.monotonic() > deadline:
                return follows(known, versions)
            await asyncio.sleep(POLL_S)

    async def _check_free(self, port: AdminPort, state: admin_pb2.ModelState) -> None:
        """Nobody else's canary is on trial, and plans go on. Raises Refusal."""
        name = self._version.name
        if state.canary.digest not in ("", self._version.digest):
            found = reversed(await port.decisions(name))
            begun = next((one for one in found if one.kind == "canary_deployed"), None)
            whose = "" if begun is None else f", deployed by {begun.operator} ({begun.entry.get('reason')})"
            raise Refusal(
                name, expected="no canary under way", got=f"version {state.canary.version} on trial{whose}",
                hint=f"Wait until it is decided, or end it: roost promote {name}, roost rollback {name}.",
            )  # fmt: skip
        if state.frozen:
            raise Refusal(
                name, expected="a model whose plans go on", got="one that is frozen",
                hint=f"roost journal show {name} says by whom and why; roost unfreeze {name} lets it go on.",
            )  # fmt: skip

    # --- What is stable ----------------------------------------------------------------------------------------------
    async def _serves_it(self, server: Server) -> Outcome:
        """The server has it as stable already: the first version, or one that was promoted meanwhile."""
        answered = await self._check_answers(server)
        version, reason = self._version, f"It takes all traffic: {answered}."
        result = Result.FIRST if len(self._registry.versions(version.name)) == 1 else Result.STABLE_ALREADY
        document = {**self._document(server, result, reason), "answers": answered}
        outcome = Outcome(result, version.name, version.version, version.digest, reason, document=document)
        return await asyncio.to_thread(keep, self._work, self._registry, outcome)

    async def _check_answers(self, server: Server) -> str:
        bundle = await asyncio.to_thread(self._bundle)
        return await asyncio.to_thread(check_answers, server.target, bundle)

    # --- A rollout ---------------------------------------------------------------------------------------------------
    async def _rolled_out(self, port: AdminPort, server: Server, signals: list[str]) -> Outcome:
        version = self._version
        reason = await asyncio.to_thread(self._reason)
        rollout = Rollout(
            port, server, Candidate(version.name, version.version, version.digest, reason),
            self._work.parameters.deploy, self._options.traffic, self._examples(), self._view.show,
        )  # fmt: skip
        try:
            await self._ask(port, rollout)
            await rollout.follow()
        except asyncio.CancelledError:
            if not signals or not rollout.asked:
                raise
            rollout.trial = watch.left(rollout.trial, f"{signals[0]} ended the pipeline before it was decided")
        except Exception as fault:
            if rollout.asked and not isinstance(fault, Declined) and not self._options.leave_canary:
                fault.add_note(await rollout.take_back("the pipeline failed"))
            raise
        said = await what_it_says(port, rollout)
        done = await self._settled(rollout)
        outcome = await self._told(port, server, rollout, said, done)
        if signals:
            raise self._stopped(signals, f"{outcome.reason} {outcome.done}".strip())
        return outcome

    async def _ask(self, port: AdminPort, rollout: Rollout) -> None:
        """Again where something else was decided between the look and the request."""
        for _ in range(ASK_TRIES):
            state = (await port.describe(self._version.name)).model
            await self._check_free(port, state)
            try:
                return await rollout.ask(state)
            except Declined as declined:
                if declined.code is not grpc.StatusCode.ABORTED:
                    raise
        raise Refusal(
            self._version.name, expected="a moment in which nothing else is decided", got=f"none in {ASK_TRIES} tries",
            hint=f"See who is at work: roost journal show {self._version.name}.",
        )  # fmt: skip

    async def _settled(self, rollout: Rollout) -> str:
        """What is done about a canary that is held, in words."""
        ending = rollout.trial.ending
        if ending is None or ending.end is not watch.End.HELD:
            return ""
        ways = f"roost promote {self._version.name} or roost rollback {self._version.name} ends it."
        if self._options.leave_canary:
            return f"It stays on trial, as was asked for: {ways}"
        if rollout.server.own and rollout.server.problem():
            return "It is on trial still, for the next server of the same state: run this again, which goes on with it."
        if ending.theirs:
            return f"It was left as it is{f', to {ending.by}' if ending.by else ''}: {ways}"
        return await rollout.take_back(f"held by the pipeline: {ending.reason}")

    async def _told(
        self, port: AdminPort, server: Server, rollout: Rollout, said: Mapping[str, Any], done: str
    ) -> Outcome:
        version, trial = self._version, rollout.trial
        assert trial.ending is not None
        result = RESULTS[trial.ending.end]
        reason = reason_of(trial, said["evidence"])
        document = {
            **self._document(server, result, reason),
            **said,
            "by": trial.ending.by,
            "ending": str(trial.ending.end),
            "done": done,
            "plan": [step.model_dump(mode="json") for step in trial.steps],
            "reached": {"step": trial.step + 1, "share": trial.weight_ppm / watch.PPM},
            "journal": await entries_of(port, rollout),
            "traffic": {"played": rollout.played, **rollout.tally.as_json()},
        }
        document["timings"] |= {"loading_s": _seconds(rollout.loading_s), "trial_s": _seconds(rollout.trial_s)}
        problems: tuple[str, ...] = ()
        if result is Result.PROMOTED:
            document["answers"], unanswered = await self._answers_after(server)
            problems = (*unanswered, *uncompared(rollout), *await self._registry_follows())
        outcome = Outcome(result, version.name, version.version, version.digest, reason, done, document, problems)
        return await asyncio.to_thread(keep, self._work, self._registry, outcome)

    async def _answers_after(self, server: Server) -> tuple[str | None, tuple[str, ...]]:
        """What a promoted version answers, and why that could not be seen."""
        try:
            return await self._check_answers(server), ()
        except (Refusal, ArtifactError) as refusal:
            return None, (f"It is not seen to answer: {refusal}",)

    async def _registry_follows(self) -> tuple[str, ...]:
        """A server that is ended too early would leave @stable where it was, until its next start."""
        deadline, why = time.monotonic() + FOLLOWS_S_MAX, ""
        while time.monotonic() < deadline:
            try:
                stable = await asyncio.to_thread(stable_version, self._registry, self._version.name)
                if stable is not None and stable.digest == self._version.digest:
                    return ()
                why = ""
            except (ArtifactError, OSError) as error:
                why = f" ({error})"  # it was promoted all the same, and that is what has to be told and kept
            await asyncio.sleep(POLL_S)
        return (f"The registry's @stable does not follow yet{why}: roost status {self._version.name} tells why.",)

    def _reason(self) -> str:
        """For the journal: what it is, and what it was judged by."""
        content = self._bundle().files.get(EVALUATION_FILE)
        try:
            judged = "its bundle has no evaluation" if content is None else evaluation_words(json.loads(content))
        except (ValueError, TypeError, KeyError):
            judged = "its bundle's evaluation is of another form"
        return f"digest {self._version.digest[:12]}; {judged}"

    def _bundle(self) -> VerifiedBundle:
        return self._registry.fetch(self._version, BundleCache(self._work.downloads / "bundles"))

    def _examples(self) -> Examples | None:
        """None where nobody is to play any."""
        path = self._work.folder / "features" / "evaluation.parquet"
        return read_examples(path) if self._options.traffic != "never" and path.exists() else None

    def _document(self, server: Server, result: Result, reason: str) -> dict[str, Any]:
        version = self._version
        return {
            "format": FORMAT_VERSION,
            "result": str(result),
            "reason": reason,
            "model": version.name,
            "version": version.version,
            "digest": version.digest,
            "registry": shown_location(self._work.registry),
            "server": {"admin": server.admin, "target": server.target, "started_for_this": server.own},
            "timings": {
                "began_utc": self._began_utc,
                "ended_utc": _now_utc(),
                "server_s": _seconds(self._server_s),
                "all_s": _seconds(time.monotonic() - self._began_s),
            },
        }


def follows(known: Mapping[str, str], versions: tuple[Version, ...]) -> bool:
    """Whether a server that knows these digests, by version, looks at the registry that has those versions."""
    ours = {str(version.version): version.digest for version in versions}
    shared = known.keys() & ours.keys()
    return bool(shared) and all(known[version] == ours[version] for version in shared)


def _seconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _now_utc() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
