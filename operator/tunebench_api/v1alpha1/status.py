"""The observed state of a BenchmarkRun."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tunebench_api.v1alpha1.rules import unique_list
from tunebench_api.v1alpha1.wire import ShortText, Text, Wire, named_list

MAX_ROWS = 256


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Wire):
    """One aspect of the run's state, as Kubernetes objects show it."""

    type: ShortText = Field(description="Aspect, such as Succeeded.")
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: ShortText = Field(description="One CamelCase word for machines.")
    message: Text = Field(default="", description="A sentence for people.")
    observed_generation: int = Field(
        default=0, description="Generation of the spec that this was computed from."
    )
    last_transition_time: ShortText = Field(
        default="", description="When `status` last changed, RFC 3339."
    )


class StageStatus(Wire):
    """Where one stage stands."""

    name: ShortText = Field(description="Stage, such as train/small-lora.")
    state: ShortText = Field(description="Pending, Running, Succeeded, Failed or Skipped.")
    reason: ShortText = Field(default="", description="One CamelCase word for machines.")
    message: Text = Field(default="", description="A sentence for people.")
    attempt: int = Field(
        default=0, description="Attempt that runs or ran last; 0 before the first."
    )
    retryable: bool = Field(
        default=False, description="Whether a failed stage may succeed when tried again."
    )
    digest: ShortText = Field(default="", description="Digest of the stage's inputs.")


class ModelStatus(Wire):
    """Where one model stands."""

    name: ShortText = Field(description="Name of the model.")
    stage: ShortText = Field(description="Stage that it is in, or Done or Failed.")
    percent: int | None = Field(default=None, description="Progress of the stage in percent.")
    loss: ShortText | None = Field(default=None, description="Training loss, last reported.")
    eta_seconds: int | None = Field(default=None, description="Seconds until the stage ends.")
    tokens_per_second: ShortText | None = Field(
        default=None, description="Training throughput, last reported."
    )
    gradient_norm: ShortText | None = Field(
        default=None,
        description="Norm of the gradients before clipping, last reported. Absent: no training.",
    )
    mfu_pct: ShortText | None = Field(
        default=None,
        description="Share of the GPUs' peak that the training uses, last reported. Absent: no "
        "training, no GPU, or one whose peak is not known.",
    )
    peak_memory: ShortText | None = Field(
        default=None,
        description="Most memory of the first worker or of its GPU, such as 12.3Gi. Absent: no "
        "training.",
    )
    gpu_utilization_pct: ShortText | None = Field(
        default=None,
        description="Share of time in which the first worker's GPU computes, last reported. "
        "Absent: no training, no GPU, or one that does not say.",
    )
    step: int | None = Field(default=None, description="Optimizer step, last reported.")
    attempt: int = Field(default=0, description="Attempt of the stage.")
    checkpoint: ShortText | None = Field(
        default=None, description="Checkpoint in the store, last written."
    )
    sizing: Text = Field(
        default="",
        description="Workers, ZeRO stage and micro-batch of its training, and why. Absent: as its "
        "settings say.",
    )
    reason: ShortText = Field(default="", description="One CamelCase word for machines.")
    message: Text = Field(default="", description="A sentence for people.")


class Interval(Wire):
    """A percentage with its 95% interval."""

    pct: ShortText = Field(description="Point estimate in percent.")
    lo: ShortText = Field(description="Lower end of the 95% interval in percent.")
    hi: ShortText = Field(description="Upper end of the 95% interval in percent.")


class ToolRate(Wire):
    """Win rate in one tool."""

    name: ShortText = Field(description="Tool.")
    win_rate: Interval = Field(description="Win rate in this tool.")


class LeaderboardRow(Wire):
    """One variant, as judged."""

    name: ShortText = Field(description="Variant.")
    model: ShortText = Field(default="", description="Model or base that it belongs to.")
    kind: ShortText = Field(description="FineTuned, Untuned or Control.")
    tasks: int = Field(description="Tasks judged.")
    win_rate: Interval = Field(description="Share of comparisons won; a tie is no win.")
    tie_adjusted: Interval = Field(description="Share of comparisons won, ties counting half.")
    by_tool: tuple[ToolRate, ...] = named_list(3, "Win rate in each tool.", default=())
    schema_valid_pct: ShortText = Field(
        default="", description="Share of completions that are valid YAML of the tool's schema."
    )
    missing: int = Field(default=0, description="Verdicts that no judge gave.")
    delta: Interval | None = Field(
        default=None, description="Win rate minus that of the un-tuned base, in points."
    )
    strict: Interval | None = Field(
        default=None,
        description="Share of tasks won in both orders. Absent: scored by an older version.",
    )
    length_controlled: Interval | None = Field(
        default=None,
        description="Win rate had the answers the baseline's length. Absent: not estimated.",
    )
    rank: ShortText = Field(
        default="",
        description="Ranks that the data allow, such as 1-4. Absent: none can be given.",
    )


class JudgeStatus(Wire):
    """How a judge behaved."""

    name: ShortText = Field(description="Judge.")
    verdicts: int = Field(default=0, description="Verdicts given.")
    missing: int = Field(default=0, description="Verdicts that could not be had.")
    order_consistency_pct: ShortText = Field(
        default="", description="Share of pairs with the same winner in both orders."
    )
    first_slot_pct: ShortText = Field(
        default="", description="Share of decided verdicts for the completion shown first."
    )
    cost_usd: ShortText = Field(default="", description="Cost as LiteLLM reports it.")
    llm: bool = Field(default=True, description="False: the reference judge, which is not an LLM.")
    ties_pct: ShortText = Field(default="", description="Share of verdicts that are ties.")
    longer_wins_pct: ShortText = Field(
        default="", description="Share of decided verdicts for the longer completion."
    )
    parse_failures_pct: ShortText = Field(
        default="", description="Share of verdicts that could not be read, however often asked."
    )
    repeat_flips_pct: ShortText = Field(
        default="",
        description="Share of repeated questions with several winners. Absent: none was repeated.",
    )
    replication: ShortText = Field(
        default="",
        description="How close it is to a judge of the benchmark of 2024: Exact, SameFamily or "
        "Substitute. Absent: scored by an older version.",
    )


class ServingStatus(Wire):
    """What stays served when the run is over."""

    variant: ShortText = Field(description="Variant, which is also the model id to ask for.")
    endpoint: ShortText | None = Field(
        default=None,
        description="OpenAI-compatible address for pods in the namespace of the run. Absent: it "
        "does not answer yet.",
    )


class Summary(Wire):
    """One line about the run."""

    models: ShortText = Field(default="", description="Models done and in all, such as 1/2.")
    best: ShortText = Field(default="", description="Variant with the highest win rate.")
    win_rate: ShortText = Field(default="", description="Its win rate, such as 40.7 (36.8-44.6).")
    judges: ShortText = Field(default="", description="Judges, by name.")
    agreement: ShortText = Field(
        default="",
        description="Share of comparisons on which two judges agree, in percent, over all pairs.",
    )
    alpha: ShortText = Field(
        default="",
        description="Krippendorff's alpha of the headline's judges. Absent: there is one judge.",
    )
    replication: ShortText = Field(
        default="",
        description="How close the headline's judges are to those of the benchmark of 2024: Exact, "
        "SameFamily or Substitute. Absent: not scored.",
    )
    cost_usd: ShortText = Field(
        default="",
        description="Cost of all judges, as LiteLLM reports it; ≥ where some is unknown.",
    )
    gpu_hours: ShortText = Field(
        default="", description="GPUs times hours of all attempts that have ended."
    )


class BenchmarkRunStatus(Wire):
    """What is observed."""

    observed_generation: int = Field(
        default=0, description="Generation of the spec that this status was computed from."
    )
    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            description="State by aspect.",
            max_length=16,
            json_schema_extra=unique_list(keys=("type",)),
        ),
    ] = ()
    summary: Summary = Field(default=Summary(), description="One line about the run.")
    stages: tuple[StageStatus, ...] = named_list(1024, "Every stage of the plan.", default=())
    models: tuple[ModelStatus, ...] = named_list(64, "Every model.", default=())
    leaderboard: tuple[LeaderboardRow, ...] = named_list(
        MAX_ROWS, "Variants, best first.", default=()
    )
    judges: tuple[JudgeStatus, ...] = named_list(16, "Judges.", default=())
    serving: ServingStatus | None = Field(
        default=None, description="What `spec.serving.keep` keeps. Absent: nothing."
    )
    results: ShortText = Field(default="", description="Where the results lie in the store.")
    start_time: ShortText = Field(default="", description="When the run began, RFC 3339.")
    completion_time: ShortText = Field(default="", description="When it ended, RFC 3339.")
