"""Every setting, by section: one frozen object that parent, control and workers share.

`server.cli.configuration` gathers the values (flags, environment, file) and makes the errors; children get the object
as JSON. `settings_fields()` lists all keys with defaults and ranges: errors and docs/reference/configuration.md are
made and tested from it. Always: what the object holds is within the ranges below, whatever it came from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from server import webhook_url
from server.addresses import ADDRESS_ALLOWED, is_loopback
from server.settings_values import (
    MODEL_NAME_ALLOWED,
    MODEL_REFERENCE_ALLOWED,
    SIGNERS_ALLOWED,
    TRACKING_URI_ALLOWED,
    VARIABLE_ALLOWED,
    WEBHOOK_KINDS,
    Address,
    AdminAddress,
    HomePath,
    ModelName,
    ModelReference,
    Names,
    Signers,
    VariableName,
    WebhookKinds,
    WebhookUrl,
    described,
    within,
)

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
MODELS_MAX: Final = 64  # routes in the plane
WEBHOOKS_MAX: Final = 16  # a task, a thread and a label of metrics each


class Section(BaseModel):
    """Frozen, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


class ServerSettings(Section):
    """Addresses and processes."""

    listen: Address = described("127.0.0.1:8001", ADDRESS_ALLOWED, "gRPC predictions")
    http: Address = described("127.0.0.1:8002", ADDRESS_ALLOWED, "Metrics, health and the page of drift over HTTP")
    admin: AdminAddress = described(
        "127.0.0.1:8003", "loopback " + ADDRESS_ALLOWED, "gRPC for operators; open to this machine only"
    )
    workers: int = within(1, 1, 64, "Processes that serve predictions")
    standby: bool = described(
        True, "True, False", "Whether a process of about 150 MiB stands by, to take the place of a worker that ends"
    )
    listener: Literal["auto", "fast", "grpcio"] = Field(
        default="auto",
        description="`fast` needs libnghttp2, `grpcio` does not; `auto` takes `fast` where it can and warns where not",
    )
    ready_file: HomePath | None = described(None, "a path", "JSON with the real addresses, written once all is ready")
    drain_timeout_s: float = within(30.0, 0.0, 3600.0, "How long a stop waits for calls in flight")


class LogSettings(Section):
    """What is logged, and how."""

    format: Literal["human", "json"] = Field(default="human", description="For people, or one JSON object a line")
    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="The least that is logged")


class BatchingSettings(Section):
    """When rows become a batch."""

    max_batch_size: int = within(1024, 1, 65_536, "Rows in a batch at most")
    max_queue_delay_us: int = within(0, 0, 1_000_000, "How long a batch waits for more rows while the runner is free")
    queue_rows_max: int = within(65_536, 1, 16_777_216, "Rows that wait; more are refused with RESOURCE_EXHAUSTED")
    queue_bytes_max: int = within(
        512 * MIB, 1 * MIB, 256 * GIB, "Memory for one model's rows that wait or run; wide rows make smaller batches"
    )
    inline_cost_us_max: int = within(2000, 0, 1_000_000, "Dearer batches run in the runner's thread, not on the loop")


class LimitSettings(Section):
    """What one call, one connection and one worker may take."""

    message_bytes_max: int = within(4 * MIB, 1 * KIB, 1 * GIB, "One gRPC message; a longer one is RESOURCE_EXHAUSTED")
    connections_max: int = within(4096, 1, 65_536, "Connections of a worker; one more is closed at once")
    streams_per_connection_max: int = within(1024, 1, 65_536, "Calls in flight on a connection")
    slots_max: int = within(8192, 1, 1_048_576, "Calls in flight in a worker; more are RESOURCE_EXHAUSTED")
    header_bytes_max: int = within(16_384, 1024, 1_048_576, "Decoded headers of one call")
    headers_max: int = within(128, 16, 4096, "Headers of one call")
    reply_bytes_per_connection_max: int = within(
        16 * MIB, 64 * KIB, 1 * GIB, "Replies not read yet; a reader behind by more is cut off"
    )
    reply_bytes_max: int = within(256 * MIB, 64 * KIB, 64 * GIB, "Replies not read yet in a worker")
    assembling_bytes_per_connection_max: int = within(
        16 * MIB, 64 * KIB, 1 * GIB, "Messages not complete yet on a connection"
    )
    assembling_bytes_max: int = within(256 * MIB, 64 * KIB, 64 * GIB, "Messages not complete yet in a worker")
    resets_sent_max: int = within(1000, 1, 1_000_000, "Streams that a peer makes us reset before it is cut off")
    outbound_frames_max: int = within(10_000, 100, 10_000_000, "Frames queued for a peer before it is cut off")
    empty_data_frames_max: int = within(1000, 1, 10_000_000, "Empty DATA frames before the peer is cut off")
    priority_frames_max: int = within(1000, 1, 10_000_000, "PRIORITY frames before the peer is cut off")
    settings_ack_timeout_s: float = within(10.0, 0.1, 600.0, "For a peer to acknowledge SETTINGS")
    stalled_timeout_s: float = within(10.0, 0.1, 600.0, "Without progress of a reply or a request begun")
    connection_age_max_s: float = within(
        0.0, 0.0, 604_800.0, "Then the client is told to reconnect (GOAWAY, jittered); 0 is never"
    )
    handoffs_max: int = within(256, 1, 65_536, "Calls with the Python servicers at once; more are RESOURCE_EXHAUSTED")


class RegistrySettings(Section):
    """Where verified artifacts come from."""

    path: HomePath | None = described(None, "a path", "A folder registry, for models named by reference")
    mlflow: str | None = described(
        None, TRACKING_URI_ALLOWED, "An MLflow registry's tracking URI, in place of a folder registry"
    )
    cache: HomePath = described(Path("~/.cache/roost"), "a path", "Verified artifacts, by digest")
    signers: Signers = described(
        (), SIGNERS_ALLOWED, "Whose signature a version must have, one of them at least; none is asked for without"
    )
    poll_s: float = within(
        5.0, 0.1, 3600.0, "How often the registry is looked at; jittered, and less often while down"
    )

    @property
    def location(self) -> str | None:
        """The registry as `registry_client.opening` takes it; None where there is none."""
        return self.mlflow if self.path is None else str(self.path)


class LifecycleSettings(Section):
    """Canaries, promotions and rollbacks, and where they are written down."""

    state: HomePath = described(
        Path("~/.local/state/roost"), "a path", "Journal and evidence; one server's own, used with a registry only"
    )
    pin_allowed: bool = described(False, "True, False", "Whether callers may choose a variant (roost-variant)")
    auto_rollback: bool = described(True, "True, False", "Whether a canary that is worse is taken back by itself")


class JudgementSettings(Section):
    """When a canary is worse than the stable beside it, and when it is not."""

    alpha: float = within(0.01, 1e-6, 0.2, "Chance that a rollout that is no worse is ever rolled back")
    beta: float = within(0.05, 1e-6, 0.5, "Chance that a rollout that is worse is taken for good")
    margin_worse: float = within(1.1, 1.0, 10.0, "Odds ratio of failures up to which a canary counts as no worse")
    margin_not_worse: float = within(1.25, 1.01, 10.0, "Odds ratio that must be ruled out before a promotion")
    cap: float = within(0.001, 1e-6, 0.5, "A rate of failures below which a canary is good whatever the stable's is")
    look_ms: int = within(250, 20, 60_000, "How often the counts are looked at")
    age_limit_ms: int = within(1000, 1, 600_000, "A request in flight for longer counts as timed out")


DriftResponse = Literal["off", "alert", "hold", "rollback"]


class DriftSettings(Section):
    """Whether what a model is given, and answers, is still what it was trained on."""

    count: bool = described(True, "True, False", "Whether rows are counted by bin, for models that have a baseline")
    days_without_false_alarm: float = within(90.0, 1.0, 3650.0, "Of one model, on average, for all its detectors")
    tau: float = within(0.1, 0.01, 10.0, "PSI that is large enough to matter")
    rows_min: int = within(100, 1, 1_000_000, "A window with fewer rows says nothing")
    season: Literal["learn", "off"] = Field(
        default="learn",
        description="Minutes and hours are compared with the same hour of the week, once it is known; or with the "
        "training reference, at once",
    )
    inputs: DriftResponse = Field(
        default="alert",
        description="What follows when inputs drift: an alert; a plan that waits, too; traffic that goes home, too; "
        "nothing. rollback wants i_know and reason",
    )
    predictions: DriftResponse = Field(
        default="alert", description="What follows when predictions drift. rollback wants i_know and reason"
    )
    canary: DriftResponse = Field(
        default="hold", description="What follows when only the canary's predictions differ from the stable's beside it"
    )
    i_know: bool = described(
        False, "True, False", "Whether traffic may go home for drift that every version sees, for the reason given"
    )
    reason: str = Field(
        default="",
        max_length=400,
        description="Why another version helps when inputs or predictions drift, as the journal shall say",
        json_schema_extra={"allowed": "at most 400 characters"},
    )
    cool_down_s: float = within(3600.0, 0.0, 604_800.0, "Between two alerts of the same signal")
    dry_run: bool = described(False, "True, False", "Whether what would be done is told only, and nothing is done")
    export_features: int = within(
        50, 0, 4096, "Features of each model and signal whose bins `/metrics` shows, the most important first"
    )


class TrialSettings(Section):
    """What a new artifact, and a canary's runs, may take."""

    load_timeout_s: float = within(120.0, 1.0, 3600.0, "For the loader process to try an artifact")
    memory_bytes_max: int = within(8 * GIB, 512 * MIB, 1024 * GIB, "Address space of the loader process")
    worker_memory_bytes_max: int = within(
        4 * GIB,
        256 * MIB,
        1024 * GIB,
        "Resident memory of a worker, canary included; while a version is tried, a run that wants far more fails",
    )
    watchdog_ms: int = within(500, 10, 600_000, "A canary's run that is longer, and longer than expected, is ended")
    watchdog_multiple: float = within(20.0, 2.0, 1000.0, "How many times its expected time a run may take")
    watchdog_grace_ms: int = within(1000, 10, 60_000, "For a run that was ended to end, before the worker is replaced")


class RecordSettings(Section):
    """A sample of the rows that are answered, in files, for `roost replay`. Off unless there is a share."""

    share: float = within(0.0, 0.0, 1.0, "Of the rows that are answered; 0 keeps none, and costs nothing")
    folder: HomePath | None = described(None, "a path", "Where the files go, a folder for each model")
    redact: Names = described((), "a list of columns, or of tensors for all of theirs", "What is never written")
    keep_days: float = within(30.0, 0.001, 3650.0, "Older files are deleted")
    bytes_max: int = within(10 * GIB, 1 * MIB, 1 << 50, "Of all files of the folder; over it the oldest are deleted")
    rows_per_file: int = within(50_000, 1, 1_000_000, "A file is written when it has so many rows")
    seconds_per_file: float = within(300.0, 1.0, 86_400.0, "Or when its first row is so old")


class WebhookSettings(Section):
    """A receiver of events over HTTP. Its secret is no setting: this says where it is found."""

    name: ModelName = Field(
        description="As logs, alerts and metrics call it", json_schema_extra={"allowed": MODEL_NAME_ALLOWED}
    )
    url: WebhookUrl = Field(
        description="Where events are posted; no more than its host is ever shown",
        json_schema_extra={"allowed": webhook_url.ALLOWED},
    )
    events: WebhookKinds = described(
        WEBHOOK_KINDS, f"a list of {', '.join(WEBHOOK_KINDS)}", "The kinds of events that it gets"
    )
    secret_file: HomePath | None = described(None, "a path", "The secret that signs; read at each attempt")
    secret_variable: VariableName | None = described(
        None, VARIABLE_ALLOWED, "The variable that holds the secret, in place of a file"
    )
    plain_http_allowed: bool = described(
        False, "True, False", "Whether events may leave this machine unencrypted, to an `http://` address"
    )
    timeout_s: float = within(10.0, 0.1, 60.0, "For an attempt, from looking the host up to the answer's headers")
    attempts_max: int = within(30, 1, 1000, "Attempts to deliver an event before it is dropped")
    age_max_s: float = within(86_400.0, 1.0, 604_800.0, "An event that waits for longer is dropped")
    queue_max: int = within(256, 10, 10_000, "Events that wait; over it the oldest of the least important is dropped")

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if (self.secret_file is None) == (self.secret_variable is None):
            got = "none" if self.secret_file is None else "both"
            raise ValueError(f"expected one of secret_file and secret_variable for {self.name!r}, got {got}")
        parts = urlsplit(self.url)
        if parts.scheme == "http" and not self.plain_http_allowed and not is_loopback(parts.hostname or ""):
            raise ValueError(
                f"expected https beyond this machine for {self.name!r}, got http for {parts.netloc!r}. "
                "Use https, or set plain_http_allowed where everybody on the way may read the events"
            )
        return self


class ModelSettings(Section):
    """A model to serve: an ONNX file, or an artifact of the registry; with neither key @stable, else the newest."""

    name: ModelName = Field(description="As clients call it", json_schema_extra={"allowed": MODEL_NAME_ALLOWED})
    onnx: HomePath | None = described(None, "a path", "An ONNX file, served as it is, without a registry")
    reference: ModelReference | None = described(
        None,
        MODEL_REFERENCE_ALLOWED,
        "A version in the registry; without it and `onnx`, `@stable` where the model has it, else the newest",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.onnx is not None and self.reference is not None:
            raise ValueError(f"expected at most one of onnx and reference for the model {self.name!r}, got both")
        return self


class Settings(Section):
    """All of it."""

    server: ServerSettings = Field(default_factory=ServerSettings)
    logs: LogSettings = Field(default_factory=LogSettings)
    batching: BatchingSettings = Field(default_factory=BatchingSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    lifecycle: LifecycleSettings = Field(default_factory=LifecycleSettings)
    judgement: JudgementSettings = Field(default_factory=JudgementSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    trial: TrialSettings = Field(default_factory=TrialSettings)
    record: RecordSettings = Field(default_factory=RecordSettings)
    webhooks: tuple[WebhookSettings, ...] = ()
    models: tuple[ModelSettings, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for section, entries in (("models", self.models), ("webhooks", self.webhooks)):
            names = [entry.name for entry in entries]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{section}: expected every name once, got {', '.join(twice)} twice")
        referring = [model.name for model in self.models if model.onnx is None]
        if referring and self.registry.location is None:
            raise ValueError(
                f"registry.path: expected the registry of {', '.join(referring)}, got none. "
                "Set it with --registry (a folder, or an MLflow tracking URI), or name ONNX files"
            )
        if self.registry.path is not None and self.registry.mlflow is not None:
            raise ValueError("registry.mlflow: expected one registry, got registry.path as well. Remove one of them")
        bare = [model.name for model in self.models if model.onnx is not None]
        if bare and self.registry.signers:
            raise ValueError(
                f"models: expected versions of the registry, since registry.signers asks for signatures, got an ONNX "
                f"file for {', '.join(bare)}, which can have none. Bundle it, push it and sign it, or set no signers"
            )
        if len(self.models) > MODELS_MAX:
            raise ValueError(f"models: expected at most {MODELS_MAX}, got {len(self.models)}. Start a second server")
        if self.record.share > 0.0 and self.record.folder is None:
            raise ValueError(
                f"record.folder: expected a folder beside record.share = {self.record.share:g}, got none. "
                "Say where the rows are kept, or leave the share out"
            )
        if len(self.webhooks) > WEBHOOKS_MAX:
            raise ValueError(f"webhooks: expected at most {WEBHOOKS_MAX}, got {len(self.webhooks)}. Let one pass on")
        for key in ("inputs", "predictions"):
            if getattr(self.drift, key) == "rollback" and not (self.drift.i_know and self.drift.reason.strip()):
                missing = "no drift.reason" if self.drift.i_know else "no drift.i_know"
                raise ValueError(
                    f"drift.{key}: expected off, alert or hold, or drift.i_know with drift.reason, got rollback with "
                    f"{missing}. Every version sees the same inputs, so that going home seldom helps"
                )
        limits = self.limits
        for key in ("reply_bytes_per_connection_max", "assembling_bytes_per_connection_max"):
            if getattr(limits, key) < limits.message_bytes_max:
                raise ValueError(
                    f"limits.{key}: expected at least limits.message_bytes_max ({limits.message_bytes_max}), "
                    f"got {getattr(limits, key)}. One message must fit"
                )
        if limits.assembling_bytes_max < limits.assembling_bytes_per_connection_max:
            raise ValueError(
                "limits.assembling_bytes_max: expected at least limits.assembling_bytes_per_connection_max "
                f"({limits.assembling_bytes_per_connection_max}), got {limits.assembling_bytes_max}"
            )
        if self.batching.queue_rows_max < self.batching.max_batch_size:
            raise ValueError(
                f"batching.queue_rows_max: expected at least batching.max_batch_size "
                f"({self.batching.max_batch_size}), got {self.batching.queue_rows_max}"
            )
        return self


LISTS: Final[dict[str, type[Section]]] = {"webhooks": WebhookSettings, "models": ModelSettings}
"""Sections that are lists of tables: their keys are written as `models[].name`."""
