"""What the planner and the jobs agree on: stage configs, reports and where things lie.

A stage is a process with one config document. Everything that decides its result is in the config
and in the artefacts that the config names, so the digest of the config names the result: outputs
lie in `<store>/<stage kind>/<digest>/`, with `result.json` written last. What does not decide the
result is outside the digest: `Runtime` (addresses, folders, the attempt) and `HowOnly` fields.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter

from tunebench_api.sizing.settled import Sizing
from tunebench_api.v1alpha1 import (
    BaselineSpec,
    Control,
    DatasetSpec,
    GenerationSpec,
    GitHubSource,
    JudgeSpec,
    JudgingSpec,
    LlmSpec,
    PromptsSpec,
    SecretRef,
    StatisticsSpec,
    Tool,
    TrackingSpec,
    TuningSpec,
    Wire,
)
from tunebench_api.v1alpha1.wire import Decimal, HowOnly, ShortText

# Part of every digest: raise it when a stage computes something else from the same config.
CONTRACT_VERSION = 1

RESULT_FILE = "result.json"

# Why an attempt failed whose node went, perhaps with some seconds' notice: no fault of the stage.
NODE_LOST = "NodeLost"
# Why one failed whose memory ran out: a training is started again with half the micro-batch.
OUT_OF_MEMORY = "OutOfMemory"

# A report may lie in a ConfigMap, under this key.
REPORT_KEY = "report.json"
_REPORT_SCHEME = "configmap://"


class StageKind(StrEnum):
    """The stages of a run, in the order of the flow."""

    PREFLIGHT = "preflight"
    DATA = "data"
    BASELINE = "baseline"
    TRAIN = "train"
    SERVE = "serve"
    GENERATE = "generate"
    CONTROL = "control"
    JUDGE = "judge"
    SCORE = "score"
    # Not part of the flow: what is left to do for a run that is deleted.
    CLEANUP = "cleanup"


class Quantization(StrEnum):
    """Number format of frozen weights that are kept smaller than they compute."""

    NF4 = "NF4"


class Base(Wire):
    """A base model, as the jobs load it."""

    base: str
    revision: str | None = None
    gguf_file: str | None = None
    # Adapters of QLoRA fit no other weights than the ones that they were trained on.
    quantization: Quantization | None = None
    # Digest of a local base's files, so that a changed folder is another base.
    fingerprint: str | None = None


class VariantKind(StrEnum):
    """What a completion comes from."""

    FINE_TUNED = "FineTuned"
    UNTUNED = "Untuned"
    CONTROL = "Control"


class PreflightBase(Wire):
    """A base model and the models of the run that are made from it."""

    base: Base
    models: tuple[str, ...]


class PreflightLlm(Wire):
    """A model that makes training data, and its place in the run."""

    field: str
    llm: LlmSpec


class PreflightSecret(Wire):
    """A key that no model needs, and the place in the run that owns it."""

    field: str
    secret_ref: SecretRef


class PreflightGitHub(Wire):
    """A source that GitHub is asked for, and its place in the run."""

    field: str
    source: GitHubSource


class JudgingScale(Wire):
    """How much each judge will be asked, as far as the spec alone says it."""

    tasks: int
    # Rows of the leaderboard, controls included.
    variants: int
    # Most tokens of a task; a rule of the data if `exact`, else the longest example of training.
    task_tokens: int
    exact: bool
    # Most tokens of a variant's and of the baseline's completion.
    completion_tokens: int
    baseline_tokens: int
    # How often each comparison is asked.
    repeats: int = 1

    @property
    def questions(self) -> int:
        """Questions to one judge, each task in both orders."""
        return self.tasks * self.variants * 2 * self.repeats


class VerdictFormat(StrEnum):
    """Whose published verdicts can be imported."""

    ALPACA_EVAL = "alpaca-eval"
    ARENA_HARD = "arena-hard"
    FASTCHAT = "fastchat"


class PreflightConfig(Wire):
    """Check what would otherwise fail late: judges' credentials, base models, prompts, files."""

    stage: Literal["preflight"] = "preflight"
    bases: tuple[PreflightBase, ...]
    judges: tuple[JudgeSpec, ...]
    baseline: BaselineSpec
    prompts: PromptsSpec
    tools: tuple[Tool, ...]
    # What makes and scores training answers.
    makers: tuple[PreflightLlm, ...] = ()
    # Whether one of them scores, which takes a prompt of its own.
    scores: bool = False
    secrets: tuple[PreflightSecret, ...] = ()
    git_hub: tuple[PreflightGitHub, ...] = ()
    judging: JudgingSpec = JudgingSpec()
    # Absent: an operator of an earlier version asks.
    scale: JudgingScale | None = None


class DataConfig(Wire):
    """Load, clean, split and render pull requests."""

    stage: Literal["data"] = "data"
    tools: tuple[Tool, ...]
    dataset: DatasetSpec
    prompts: PromptsSpec
    seed: int
    # Digests of the sources by URI, where the planner's shell could read them.
    sources: dict[str, str] = Field(default_factory=dict)


class BaselineConfig(Wire):
    """Collect the baseline's completion of every task."""

    stage: Literal["baseline"] = "baseline"
    data: str
    baseline: BaselineSpec
    sources: dict[str, str] = Field(default_factory=dict)


class TrainTracking(Wire):
    """Where the metrics of a training are logged, and under which names."""

    run: str
    model: str
    tracking: TrackingSpec


class TrainConfig(Wire):
    """Fine-tune one model."""

    stage: Literal["train"] = "train"
    data: str
    base: Base
    tuning: TuningSpec
    seed: int
    tracking: Annotated[TrainTracking | None, HowOnly()] = None


class ServedVariant(Wire):
    """One model id of an endpoint; `checkpoint` is a train stage's output, absent: the base."""

    name: str
    checkpoint: str | None = None


class ServeConfig(Wire):
    """Serve a base model with its adapters, or one fully tuned checkpoint."""

    stage: Literal["serve"] = "serve"
    base: Base
    variants: tuple[ServedVariant, ...]
    batch_size: int
    seed: int


class GenerateConfig(Wire):
    """Ask an endpoint for a completion of every task."""

    stage: Literal["generate"] = "generate"
    data: str
    base: Base
    checkpoint: str | None
    generation: GenerationSpec
    seed: int


class ControlConfig(Wire):
    """Write the completions of a control; no model is asked."""

    stage: Literal["control"] = "control"
    data: str
    baseline: str
    control: Control


class JudgeConfig(Wire):
    """Compare one variant's completions with the baseline's."""

    stage: Literal["judge"] = "judge"
    data: str
    baseline: str
    completions: str
    prompts: PromptsSpec
    judges: tuple[JudgeSpec, ...]
    judging: JudgingSpec


class ScoredVariant(Wire):
    """One row of the leaderboard: `judge` is a judge stage's output."""

    name: str
    model: str
    kind: VariantKind
    size_billions: str | None = None
    # Of the base model's vendor; absent: unknown.
    family: str | None = None
    completions: str
    judge: str
    untuned: str | None = None
    train: str | None = None


class FailedModel(Wire):
    """A model that has no row because a stage of it failed."""

    name: str
    reason: str
    message: str


class ScoreConfig(Wire):
    """Turn verdicts into win rates with intervals, and write the report."""

    stage: Literal["score"] = "score"
    # Raise it when the same verdicts give another report; no other stage is done anew then.
    revision: int = 6
    run: str
    data: str
    baseline: str
    baseline_spec: BaselineSpec
    # Of those who wrote training answers.
    teacher_families: tuple[str, ...] = ()
    judges: tuple[JudgeSpec, ...]
    judging: JudgingSpec
    statistics: StatisticsSpec
    variants: tuple[ScoredVariant, ...]
    failed: tuple[FailedModel, ...] = ()
    seed: int
    tracking: Annotated[TrackingSpec | None, HowOnly()] = None


class CleanupConfig(Wire):
    """Delete artefacts that a run has made and that nobody else uses."""

    stage: Literal["cleanup"] = "cleanup"
    # Folders of results, relative to the store.
    outputs: tuple[str, ...]
    # Results that are older were there before the run, and stay. RFC 3339.
    since: str


AnyStageConfig = (
    PreflightConfig
    | DataConfig
    | BaselineConfig
    | TrainConfig
    | ServeConfig
    | GenerateConfig
    | ControlConfig
    | JudgeConfig
    | ScoreConfig
    | CleanupConfig
)
StageConfig = Annotated[AnyStageConfig, Field(discriminator="stage")]


class Runtime(Wire):
    """Where a stage runs; nothing here decides its result."""

    # Root of the artefact store: config paths such as `data/<digest>` are relative to it.
    store: str
    # Folder of this machine for copies of a store that lies elsewhere; absent: the user's cache.
    scratch: str | None = None
    # This stage's output folder, relative to `store`.
    output: str
    # File that receives the stage's `Report`, or the address of a ConfigMap.
    report: str
    # Address of the serve stage, for generate.
    endpoint: str | None = None
    # Model id to ask for, for generate.
    served_name: str | None = None
    # Folder of the prompt sets that a run names: the builtin ones, or a ConfigMap that is mounted
    # there. Absent: the installed ones.
    prompts_dir: str | None = None
    # What the run has spent on judges before, of `judging.budgetUSD`.
    spent_usd: Decimal | None = None
    # Judges that the run's last variant could not have: one word shows whether they are back.
    absent_judges: tuple[str, ...] = ()
    attempt: int = 1
    # Of one worker; absent: whatever is there.
    cpus: int | None = None
    gpus: int | None = None
    # How a training is carried out where its settings leave it open; absent: as set.
    sizing: Sizing | None = None


class StageDocument(Wire):
    """The one document that a job reads."""

    config: StageConfig
    runtime: Runtime


def _check_moment(text: str) -> str:
    if text and datetime.fromisoformat(text).tzinfo is None:
        msg = "must say its time zone"
        raise ValueError(msg)
    return text


# ISO 8601 with a time zone, or nothing.
Moment = Annotated[str, AfterValidator(_check_moment)]


class Lenient(Wire):
    """What a process of another version may have written; fields beyond these are passed over."""

    model_config = ConfigDict(extra="ignore")


class JudgeProgress(Lenient):
    """What one judge has done and sold in this attempt."""

    name: str
    # Questions that have ended, and those there are; what the ledger held is not among them.
    done: int = 0
    total: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    # Empty where no price is known.
    cost_usd: ShortText = ""


class Progress(Lenient):
    """What a stage says while it runs."""

    percent: int | None = None
    message: str = ""
    step: int | None = None
    total_steps: int | None = None
    loss: ShortText | None = None
    eta_seconds: int | None = None
    tokens_per_second: ShortText | None = None
    gradient_norm: ShortText | None = None
    mfu_pct: ShortText | None = None
    peak_memory: ShortText | None = None
    gpu_utilization_pct: ShortText | None = None
    checkpoint: ShortText | None = None
    # Set by serve when it answers requests.
    endpoint: str | None = None
    # What this attempt has spent on judges; absent where nothing is known to cost anything.
    cost_usd: Decimal | None = None
    judges: tuple[JudgeProgress, ...] = ()
    updated_at: str = ""


class ResultState(StrEnum):
    """How a stage ended."""

    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


class Artefact(Lenient):
    """A file that a stage leaves behind, relative to its output folder."""

    path: str
    sha256: str
    bytes: int


class StageResult(Lenient):
    """How a stage ended, and what it left behind."""

    state: ResultState
    reason: ShortText
    message: str = ""
    # Whether the same input may succeed at another time.
    retryable: bool = False
    started_at: Moment = ""
    finished_at: Moment = ""
    artefacts: tuple[Artefact, ...] = ()
    # Small facts for the status and the report; plain JSON.
    summary: dict[str, Any] = Field(default_factory=dict)


class Report(Lenient):
    """The one document that a job writes while it runs and when it ends."""

    progress: Progress = Progress()
    result: StageResult | None = None


def build_report_address(namespace: str, name: str) -> str:
    """Return the address of a ConfigMap that receives a report."""
    return f"{_REPORT_SCHEME}{namespace}/{name}"


def parse_report_address(address: str) -> tuple[str, str] | None:
    """Return namespace and name of the ConfigMap that an address names; none for a file."""
    if not address.startswith(_REPORT_SCHEME):
        return None
    namespace, _, name = address.removeprefix(_REPORT_SCHEME).partition("/")
    return namespace, name


_DOCUMENT = TypeAdapter(StageDocument)


def parse_stage_document(raw: str | bytes) -> StageDocument:
    """Parse the document that a job was given."""
    return _DOCUMENT.validate_json(raw)


def build_config_digest(config: AnyStageConfig) -> str:
    """Return the name of a stage's result: 16 hex digits of SHA-256 over its config."""
    document = {"version": CONTRACT_VERSION, "config": config.to_identity()}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
