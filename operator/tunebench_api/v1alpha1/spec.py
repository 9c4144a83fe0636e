"""The desired state of a BenchmarkRun."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from tunebench_api.v1alpha1.data import BaselineSpec, PromptsSpec
from tunebench_api.v1alpha1.dataset import DatasetSpec
from tunebench_api.v1alpha1.judging import (
    Cleanup,
    GenerationSpec,
    JudgeSpec,
    JudgingSpec,
    QueueSpec,
    ServingSpec,
    StatisticsSpec,
    StorageSpec,
)
from tunebench_api.v1alpha1.model import ModelSpec
from tunebench_api.v1alpha1.rules import Unchanging, unique_list
from tunebench_api.v1alpha1.sources import SecretRef
from tunebench_api.v1alpha1.status import BenchmarkRunStatus
from tunebench_api.v1alpha1.tracking import TrackingSpec
from tunebench_api.v1alpha1.wire import Name, Tool, Wire, named_list

MAX_MODELS = 64
MAX_JUDGES = 16


_FIXED = (
    "tools",
    "dataset",
    "prompts",
    "baseline",
    "models",
    "judges",
    "judging",
    "generation",
    "statistics",
    "seed",
)


class BenchmarkRunSpec(Wire):
    """What to benchmark."""

    rules = (
        *(Unchanging(field) for field in _FIXED),
        Unchanging("queue", optional=True),
        Unchanging("storage", optional=True),
    )

    tools: tuple[Tool, ...] = Field(
        default=(Tool.DESCRIBE, Tool.REVIEW, Tool.IMPROVE),
        description="Tools to train and evaluate. Absent: all three.",
        min_length=1,
        max_length=3,
        json_schema_extra=unique_list(),
    )
    dataset: DatasetSpec = Field(description="Pull requests. Must be given.")
    prompts: PromptsSpec = Field(
        default=PromptsSpec(builtin="default"),
        description="Prompt set. Absent: the builtin default.",
    )
    baseline: BaselineSpec = Field(description="What models are compared with. Must be given.")
    models: tuple[ModelSpec, ...] = named_list(
        MAX_MODELS, "Models under test. Must be given.", min_length=1
    )
    judges: tuple[JudgeSpec, ...] = named_list(MAX_JUDGES, "Judges. Must be given.", min_length=1)
    judging: JudgingSpec = Field(
        default=JudgingSpec(), description="How comparisons are made. Absent: the defaults."
    )
    generation: GenerationSpec = Field(
        default=GenerationSpec(), description="How completions are sampled. Absent: the defaults."
    )
    serving: ServingSpec = Field(
        default=ServingSpec(), description="How checkpoints are served. Absent: the defaults."
    )
    statistics: StatisticsSpec = Field(
        default=StatisticsSpec(), description="How intervals are computed. Absent: the defaults."
    )
    parallelism: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="Models in training at once. Absent: 1."
    )
    retries: Annotated[int, Field(ge=0, le=20)] = Field(
        default=2,
        description="Times that a failed stage is tried again, besides `preemptions`. Absent: 2.",
    )
    preemptions: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=50,
        description="Times that a stage is started again because its node was taken or lost: "
        "evicted, preempted, or gone. Training goes on from its last checkpoint. Absent: 50.",
    )
    seed: Annotated[int, Field(ge=0, le=2_147_483_647)] = Field(
        default=0, description="Seed of everything random. Absent: 0."
    )
    queue: QueueSpec | None = Field(default=None, description="Kueue queue. Absent: no queue.")
    storage: StorageSpec | None = Field(
        default=None, description="Artefact store. Absent: the installation's, or ./runs."
    )
    tracking: TrackingSpec | None = Field(
        default=None,
        description="Where results are logged besides the store. Absent: nowhere.",
    )
    cleanup: Cleanup = Field(
        default=Cleanup.KEEP,
        description="What becomes of the run's artefacts when it is deleted. Delete: those that it "
        "made itself and no other run uses go; verdicts stay. Absent: Keep.",
    )
    suspend: bool = Field(
        default=False, description="Stop what runs and start nothing; work done stays. Absent: no."
    )

    @property
    def tracking_secrets(self) -> tuple[tuple[str, SecretRef], ...]:
        """The keys of all trackers, each with the field of its owner."""
        tracking = self.tracking
        keys = (*tracking.result_secrets, *tracking.training_secrets) if tracking else ()
        return tuple(dict.fromkeys(keys))


class Metadata(Wire):
    """The part of the object's metadata that a run needs."""

    # The API server owns the other fields of metadata.
    model_config = ConfigDict(extra="ignore")

    name: Name = Field(description="Name of the run. Must be given.")
    namespace: str | None = None
    uid: str | None = None
    generation: int = 1
    labels: dict[str, str] = Field(default_factory=dict)


class BenchmarkRun(Wire):
    """Fine-tunes models, compares them with a baseline and ranks them."""

    api_version: Literal["tunebench.dev/v1alpha1"]
    kind: Literal["BenchmarkRun"]
    metadata: Metadata
    spec: BenchmarkRunSpec
    status: BenchmarkRunStatus | None = None
