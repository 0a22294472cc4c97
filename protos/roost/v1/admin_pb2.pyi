from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Operation(_message.Message):
    __slots__ = ("operator", "reason", "request_id", "if_revision")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IF_REVISION_FIELD_NUMBER: _ClassVar[int]
    operator: str
    reason: str
    request_id: str
    if_revision: int
    def __init__(self, operator: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ..., if_revision: _Optional[int] = ...) -> None: ...

class OperationReply(_message.Message):
    __slots__ = ("models", "message", "replayed")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REPLAYED_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelState]
    message: str
    replayed: bool
    def __init__(self, models: _Optional[_Iterable[_Union[ModelState, _Mapping]]] = ..., message: _Optional[str] = ..., replayed: _Optional[bool] = ...) -> None: ...

class Artifact(_message.Message):
    __slots__ = ("version", "digest")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    version: str
    digest: str
    def __init__(self, version: _Optional[str] = ..., digest: _Optional[str] = ...) -> None: ...

class ModelState(_message.Message):
    __slots__ = ("name", "revision", "epoch", "serving", "message", "stable", "canary", "shadow", "last_safe", "weight_ppm", "rollout", "quarantined", "frozen", "workers_ready", "workers_following", "alerts")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    SERVING_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    LAST_SAFE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_PPM_FIELD_NUMBER: _ClassVar[int]
    ROLLOUT_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    WORKERS_READY_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FOLLOWING_FIELD_NUMBER: _ClassVar[int]
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: int
    epoch: int
    serving: bool
    message: str
    stable: Artifact
    canary: Artifact
    shadow: Artifact
    last_safe: Artifact
    weight_ppm: int
    rollout: Rollout
    quarantined: _containers.RepeatedCompositeFieldContainer[QuarantinedDigest]
    frozen: bool
    workers_ready: int
    workers_following: int
    alerts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[int] = ..., epoch: _Optional[int] = ..., serving: _Optional[bool] = ..., message: _Optional[str] = ..., stable: _Optional[_Union[Artifact, _Mapping]] = ..., canary: _Optional[_Union[Artifact, _Mapping]] = ..., shadow: _Optional[_Union[Artifact, _Mapping]] = ..., last_safe: _Optional[_Union[Artifact, _Mapping]] = ..., weight_ppm: _Optional[int] = ..., rollout: _Optional[_Union[Rollout, _Mapping]] = ..., quarantined: _Optional[_Iterable[_Union[QuarantinedDigest, _Mapping]]] = ..., frozen: _Optional[bool] = ..., workers_ready: _Optional[int] = ..., workers_following: _Optional[int] = ..., alerts: _Optional[_Iterable[str]] = ...) -> None: ...

class Rollout(_message.Message):
    __slots__ = ("id", "salt", "steps", "step", "paused", "needs_approval", "phase", "step_elapsed_s", "requests", "verdict")
    ID_FIELD_NUMBER: _ClassVar[int]
    SALT_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    NEEDS_APPROVAL_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    STEP_ELAPSED_S_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    id: str
    salt: int
    steps: _containers.RepeatedCompositeFieldContainer[PlanStep]
    step: int
    paused: bool
    needs_approval: bool
    phase: str
    step_elapsed_s: float
    requests: int
    verdict: str
    def __init__(self, id: _Optional[str] = ..., salt: _Optional[int] = ..., steps: _Optional[_Iterable[_Union[PlanStep, _Mapping]]] = ..., step: _Optional[int] = ..., paused: _Optional[bool] = ..., needs_approval: _Optional[bool] = ..., phase: _Optional[str] = ..., step_elapsed_s: _Optional[float] = ..., requests: _Optional[int] = ..., verdict: _Optional[str] = ...) -> None: ...

class PlanStep(_message.Message):
    __slots__ = ("weight_ppm", "bake_s", "minimum_requests")
    WEIGHT_PPM_FIELD_NUMBER: _ClassVar[int]
    BAKE_S_FIELD_NUMBER: _ClassVar[int]
    MINIMUM_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    weight_ppm: int
    bake_s: float
    minimum_requests: int
    def __init__(self, weight_ppm: _Optional[int] = ..., bake_s: _Optional[float] = ..., minimum_requests: _Optional[int] = ...) -> None: ...

class QuarantinedDigest(_message.Message):
    __slots__ = ("digest", "reason")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    digest: str
    reason: str
    def __init__(self, digest: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsReply(_message.Message):
    __slots__ = ("models", "frozen", "alerts")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    ALERTS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[ModelState]
    frozen: bool
    alerts: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, models: _Optional[_Iterable[_Union[ModelState, _Mapping]]] = ..., frozen: _Optional[bool] = ..., alerts: _Optional[_Iterable[str]] = ...) -> None: ...

class DescribeModelRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class DescribeModelReply(_message.Message):
    __slots__ = ("model", "versions")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    model: ModelState
    versions: _containers.RepeatedCompositeFieldContainer[RegistryVersion]
    def __init__(self, model: _Optional[_Union[ModelState, _Mapping]] = ..., versions: _Optional[_Iterable[_Union[RegistryVersion, _Mapping]]] = ...) -> None: ...

class RegistryVersion(_message.Message):
    __slots__ = ("artifact", "aliases")
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    ALIASES_FIELD_NUMBER: _ClassVar[int]
    artifact: Artifact
    aliases: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, artifact: _Optional[_Union[Artifact, _Mapping]] = ..., aliases: _Optional[_Iterable[str]] = ...) -> None: ...

class DeployCanaryRequest(_message.Message):
    __slots__ = ("operation", "model", "version", "weight_ppm", "plan_json", "no_wait", "digest")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_PPM_FIELD_NUMBER: _ClassVar[int]
    PLAN_JSON_FIELD_NUMBER: _ClassVar[int]
    NO_WAIT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    version: str
    weight_ppm: int
    plan_json: str
    no_wait: bool
    digest: str
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., weight_ppm: _Optional[int] = ..., plan_json: _Optional[str] = ..., no_wait: _Optional[bool] = ..., digest: _Optional[str] = ...) -> None: ...

class SetTrafficWeightsRequest(_message.Message):
    __slots__ = ("operation", "model", "canary_ppm")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANARY_PPM_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    canary_ppm: int
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ..., canary_ppm: _Optional[int] = ...) -> None: ...

class SetShadowRequest(_message.Message):
    __slots__ = ("operation", "model", "version", "no_wait")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NO_WAIT_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    version: str
    no_wait: bool
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ..., version: _Optional[str] = ..., no_wait: _Optional[bool] = ...) -> None: ...

class PromoteRequest(_message.Message):
    __slots__ = ("operation", "model")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class RollbackRequest(_message.Message):
    __slots__ = ("operation", "model", "quarantine")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    QUARANTINE_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    quarantine: bool
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ..., quarantine: _Optional[bool] = ...) -> None: ...

class QuarantineRequest(_message.Message):
    __slots__ = ("operation", "digest", "model")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    digest: str
    model: str
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., digest: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class ReleaseRequest(_message.Message):
    __slots__ = ("operation", "digest", "model")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    digest: str
    model: str
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., digest: _Optional[str] = ..., model: _Optional[str] = ...) -> None: ...

class FreezeRequest(_message.Message):
    __slots__ = ("operation", "model")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class UnfreezeRequest(_message.Message):
    __slots__ = ("operation", "model")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class PauseRequest(_message.Message):
    __slots__ = ("operation", "model")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ("operation", "model")
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    operation: Operation
    model: str
    def __init__(self, operation: _Optional[_Union[Operation, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class GetEvidenceRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class GetEvidenceReply(_message.Message):
    __slots__ = ("model", "canary", "verdict", "epochs", "signals", "words", "judgement_json", "e_worse")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    JUDGEMENT_JSON_FIELD_NUMBER: _ClassVar[int]
    E_WORSE_FIELD_NUMBER: _ClassVar[int]
    model: str
    canary: Artifact
    verdict: str
    epochs: _containers.RepeatedCompositeFieldContainer[EpochCounts]
    signals: _containers.RepeatedCompositeFieldContainer[SignalEvidence]
    words: _containers.RepeatedScalarFieldContainer[str]
    judgement_json: str
    e_worse: float
    def __init__(self, model: _Optional[str] = ..., canary: _Optional[_Union[Artifact, _Mapping]] = ..., verdict: _Optional[str] = ..., epochs: _Optional[_Iterable[_Union[EpochCounts, _Mapping]]] = ..., signals: _Optional[_Iterable[_Union[SignalEvidence, _Mapping]]] = ..., words: _Optional[_Iterable[str]] = ..., judgement_json: _Optional[str] = ..., e_worse: _Optional[float] = ...) -> None: ...

class EpochCounts(_message.Message):
    __slots__ = ("weight_epoch", "canary_ppm", "stable", "canary")
    WEIGHT_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CANARY_PPM_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    weight_epoch: int
    canary_ppm: int
    stable: ArmCounts
    canary: ArmCounts
    def __init__(self, weight_epoch: _Optional[int] = ..., canary_ppm: _Optional[int] = ..., stable: _Optional[_Union[ArmCounts, _Mapping]] = ..., canary: _Optional[_Union[ArmCounts, _Mapping]] = ...) -> None: ...

class ArmCounts(_message.Message):
    __slots__ = ("requests", "errors", "non_finite", "timeouts", "units", "errors_all", "non_finite_all", "timeouts_all")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    ERRORS_ALL_FIELD_NUMBER: _ClassVar[int]
    NON_FINITE_ALL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUTS_ALL_FIELD_NUMBER: _ClassVar[int]
    requests: int
    errors: int
    non_finite: int
    timeouts: int
    units: int
    errors_all: int
    non_finite_all: int
    timeouts_all: int
    def __init__(self, requests: _Optional[int] = ..., errors: _Optional[int] = ..., non_finite: _Optional[int] = ..., timeouts: _Optional[int] = ..., units: _Optional[int] = ..., errors_all: _Optional[int] = ..., non_finite_all: _Optional[int] = ..., timeouts_all: _Optional[int] = ...) -> None: ...

class SignalEvidence(_message.Message):
    __slots__ = ("name", "stable_events", "canary_events", "e_worse", "e_not_worse", "odds_ratio_low", "odds_ratio_high")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STABLE_EVENTS_FIELD_NUMBER: _ClassVar[int]
    CANARY_EVENTS_FIELD_NUMBER: _ClassVar[int]
    E_WORSE_FIELD_NUMBER: _ClassVar[int]
    E_NOT_WORSE_FIELD_NUMBER: _ClassVar[int]
    ODDS_RATIO_LOW_FIELD_NUMBER: _ClassVar[int]
    ODDS_RATIO_HIGH_FIELD_NUMBER: _ClassVar[int]
    name: str
    stable_events: int
    canary_events: int
    e_worse: float
    e_not_worse: float
    odds_ratio_low: float
    odds_ratio_high: float
    def __init__(self, name: _Optional[str] = ..., stable_events: _Optional[int] = ..., canary_events: _Optional[int] = ..., e_worse: _Optional[float] = ..., e_not_worse: _Optional[float] = ..., odds_ratio_low: _Optional[float] = ..., odds_ratio_high: _Optional[float] = ...) -> None: ...

class GetDriftRequest(_message.Message):
    __slots__ = ("model", "counts_of")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    COUNTS_OF_FIELD_NUMBER: _ClassVar[int]
    model: str
    counts_of: str
    def __init__(self, model: _Optional[str] = ..., counts_of: _Optional[str] = ...) -> None: ...

class GetDriftReply(_message.Message):
    __slots__ = ("model", "artifact", "reason", "windows", "counts", "rows_between", "canary")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    ROWS_BETWEEN_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    model: str
    artifact: Artifact
    reason: str
    windows: _containers.RepeatedCompositeFieldContainer[DriftWindow]
    counts: _containers.RepeatedCompositeFieldContainer[FeatureCounts]
    rows_between: int
    canary: CanaryDrift
    def __init__(self, model: _Optional[str] = ..., artifact: _Optional[_Union[Artifact, _Mapping]] = ..., reason: _Optional[str] = ..., windows: _Optional[_Iterable[_Union[DriftWindow, _Mapping]]] = ..., counts: _Optional[_Iterable[_Union[FeatureCounts, _Mapping]]] = ..., rows_between: _Optional[int] = ..., canary: _Optional[_Union[CanaryDrift, _Mapping]] = ...) -> None: ...

class CanaryDrift(_message.Message):
    __slots__ = ("artifact", "reason", "whose", "why", "canary_rows", "stable_rows", "log_e", "log_threshold", "features")
    ARTIFACT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WHOSE_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    CANARY_ROWS_FIELD_NUMBER: _ClassVar[int]
    STABLE_ROWS_FIELD_NUMBER: _ClassVar[int]
    LOG_E_FIELD_NUMBER: _ClassVar[int]
    LOG_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    artifact: Artifact
    reason: str
    whose: str
    why: str
    canary_rows: int
    stable_rows: int
    log_e: float
    log_threshold: float
    features: _containers.RepeatedCompositeFieldContainer[CanaryFeature]
    def __init__(self, artifact: _Optional[_Union[Artifact, _Mapping]] = ..., reason: _Optional[str] = ..., whose: _Optional[str] = ..., why: _Optional[str] = ..., canary_rows: _Optional[int] = ..., stable_rows: _Optional[int] = ..., log_e: _Optional[float] = ..., log_threshold: _Optional[float] = ..., features: _Optional[_Iterable[_Union[CanaryFeature, _Mapping]]] = ...) -> None: ...

class CanaryFeature(_message.Message):
    __slots__ = ("name", "psi", "psi_debiased", "standard_error", "phi", "log_e", "moved")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PSI_FIELD_NUMBER: _ClassVar[int]
    PSI_DEBIASED_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERROR_FIELD_NUMBER: _ClassVar[int]
    PHI_FIELD_NUMBER: _ClassVar[int]
    LOG_E_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    psi: float
    psi_debiased: float
    standard_error: float
    phi: float
    log_e: float
    moved: bool
    def __init__(self, name: _Optional[str] = ..., psi: _Optional[float] = ..., psi_debiased: _Optional[float] = ..., standard_error: _Optional[float] = ..., phi: _Optional[float] = ..., log_e: _Optional[float] = ..., moved: _Optional[bool] = ...) -> None: ...

class DriftWindow(_message.Message):
    __slots__ = ("signal", "length", "start_utc", "end_utc", "verdict", "why", "rows", "weighted_psi", "log_detector", "log_threshold", "features")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    START_UTC_FIELD_NUMBER: _ClassVar[int]
    END_UTC_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTED_PSI_FIELD_NUMBER: _ClassVar[int]
    LOG_DETECTOR_FIELD_NUMBER: _ClassVar[int]
    LOG_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    signal: str
    length: str
    start_utc: str
    end_utc: str
    verdict: str
    why: str
    rows: int
    weighted_psi: float
    log_detector: float
    log_threshold: float
    features: _containers.RepeatedCompositeFieldContainer[FeatureDrift]
    def __init__(self, signal: _Optional[str] = ..., length: _Optional[str] = ..., start_utc: _Optional[str] = ..., end_utc: _Optional[str] = ..., verdict: _Optional[str] = ..., why: _Optional[str] = ..., rows: _Optional[int] = ..., weighted_psi: _Optional[float] = ..., log_detector: _Optional[float] = ..., log_threshold: _Optional[float] = ..., features: _Optional[_Iterable[_Union[FeatureDrift, _Mapping]]] = ...) -> None: ...

class FeatureDrift(_message.Message):
    __slots__ = ("name", "weight", "rows", "effective_rows", "psi", "psi_debiased", "standard_error", "rule_of_thumb", "log_e", "moved")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_ROWS_FIELD_NUMBER: _ClassVar[int]
    PSI_FIELD_NUMBER: _ClassVar[int]
    PSI_DEBIASED_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERROR_FIELD_NUMBER: _ClassVar[int]
    RULE_OF_THUMB_FIELD_NUMBER: _ClassVar[int]
    LOG_E_FIELD_NUMBER: _ClassVar[int]
    MOVED_FIELD_NUMBER: _ClassVar[int]
    name: str
    weight: float
    rows: float
    effective_rows: float
    psi: float
    psi_debiased: float
    standard_error: float
    rule_of_thumb: str
    log_e: float
    moved: bool
    def __init__(self, name: _Optional[str] = ..., weight: _Optional[float] = ..., rows: _Optional[float] = ..., effective_rows: _Optional[float] = ..., psi: _Optional[float] = ..., psi_debiased: _Optional[float] = ..., standard_error: _Optional[float] = ..., rule_of_thumb: _Optional[str] = ..., log_e: _Optional[float] = ..., moved: _Optional[bool] = ...) -> None: ...

class FeatureCounts(_message.Message):
    __slots__ = ("signal", "name", "bins", "reference", "window")
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    BINS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    signal: str
    name: str
    bins: _containers.RepeatedScalarFieldContainer[str]
    reference: _containers.RepeatedScalarFieldContainer[int]
    window: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, signal: _Optional[str] = ..., name: _Optional[str] = ..., bins: _Optional[_Iterable[str]] = ..., reference: _Optional[_Iterable[int]] = ..., window: _Optional[_Iterable[int]] = ...) -> None: ...

class GetJournalRequest(_message.Message):
    __slots__ = ("model", "limit", "at_utc")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_FIELD_NUMBER: _ClassVar[int]
    model: str
    limit: int
    at_utc: str
    def __init__(self, model: _Optional[str] = ..., limit: _Optional[int] = ..., at_utc: _Optional[str] = ...) -> None: ...

class GetJournalReply(_message.Message):
    __slots__ = ("entries", "head", "pending", "path", "served")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[JournalEntry]
    head: str
    pending: int
    path: str
    served: _containers.RepeatedCompositeFieldContainer[ServedThen]
    def __init__(self, entries: _Optional[_Iterable[_Union[JournalEntry, _Mapping]]] = ..., head: _Optional[str] = ..., pending: _Optional[int] = ..., path: _Optional[str] = ..., served: _Optional[_Iterable[_Union[ServedThen, _Mapping]]] = ...) -> None: ...

class JournalEntry(_message.Message):
    __slots__ = ("number", "at_utc", "model", "revision", "cause", "operator", "reason", "line")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    number: int
    at_utc: str
    model: str
    revision: int
    cause: str
    operator: str
    reason: str
    line: str
    def __init__(self, number: _Optional[int] = ..., at_utc: _Optional[str] = ..., model: _Optional[str] = ..., revision: _Optional[int] = ..., cause: _Optional[str] = ..., operator: _Optional[str] = ..., reason: _Optional[str] = ..., line: _Optional[str] = ...) -> None: ...

class ServedThen(_message.Message):
    __slots__ = ("model", "revision", "stable", "canary", "weight_ppm")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    STABLE_FIELD_NUMBER: _ClassVar[int]
    CANARY_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_PPM_FIELD_NUMBER: _ClassVar[int]
    model: str
    revision: int
    stable: Artifact
    canary: Artifact
    weight_ppm: int
    def __init__(self, model: _Optional[str] = ..., revision: _Optional[int] = ..., stable: _Optional[_Union[Artifact, _Mapping]] = ..., canary: _Optional[_Union[Artifact, _Mapping]] = ..., weight_ppm: _Optional[int] = ...) -> None: ...

class ExplainRequest(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class ExplainReply(_message.Message):
    __slots__ = ("model", "words")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    model: str
    words: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, model: _Optional[str] = ..., words: _Optional[_Iterable[str]] = ...) -> None: ...

class WatchEventsRequest(_message.Message):
    __slots__ = ("after_sequence", "model")
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    after_sequence: int
    model: str
    def __init__(self, after_sequence: _Optional[int] = ..., model: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("sequence", "at_utc", "model", "kind", "text", "detail_json")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AT_UTC_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    DETAIL_JSON_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    at_utc: str
    model: str
    kind: str
    text: str
    detail_json: str
    def __init__(self, sequence: _Optional[int] = ..., at_utc: _Optional[str] = ..., model: _Optional[str] = ..., kind: _Optional[str] = ..., text: _Optional[str] = ..., detail_json: _Optional[str] = ...) -> None: ...
