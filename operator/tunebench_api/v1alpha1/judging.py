"""Judges, how they compare, and how completions are generated."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tunebench_api.v1alpha1.dataset import PricesSpec
from tunebench_api.v1alpha1.rules import unique_list
from tunebench_api.v1alpha1.sources import SecretRef
from tunebench_api.v1alpha1.wire import (
    AddedLater,
    Decimal,
    HowOnly,
    HttpUrl,
    Name,
    ShortText,
    Uri,
    Wire,
)

REFERENCE_JUDGE = "tunebench/reference"


class Batch(StrEnum):
    """Whether a judge is asked through its vendor's batch API."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class Probe(StrEnum):
    """Whether each judge is asked something short before work begins."""

    ENABLED = "Enabled"
    DISABLED = "Disabled"


class JudgeSpec(Wire):
    """Who compares a completion with the baseline's."""

    name: Name = Field(description="Name in the leaderboard. Must be given.")
    model: ShortText = Field(
        description="LiteLLM model id with a dated version, or tunebench/reference for the "
        "reference judge, which is not an LLM. Must be given."
    )
    family: ShortText | None = Field(
        default=None,
        description="Vendor family, so that related models are flagged. Absent: unknown.",
    )
    api_base: HttpUrl | None = Field(
        default=None, description="Address of an OpenAI-compatible server. Absent: the vendor's."
    )
    secret_ref: Annotated[SecretRef | None, HowOnly()] = Field(
        default=None, description="API key. Absent: the vendor's usual environment variable."
    )
    requests_per_minute: Annotated[Annotated[int, Field(ge=1, le=1_000_000)] | None, HowOnly()] = (
        Field(default=None, description="Most requests in a minute. Absent: no such limit.")
    )
    tokens_per_minute: Annotated[
        Annotated[int, Field(ge=1, le=1_000_000_000)] | None, HowOnly()
    ] = Field(
        default=None,
        description="Most tokens of prompts and replies in a minute. Absent: no such limit.",
    )
    concurrency: Annotated[int, Field(ge=1, le=1024), HowOnly()] = Field(
        default=128,
        description="Most requests in flight at once; it begins with 16, and adapts to what the "
        "server takes. Absent: 128.",
    )
    temperature: Decimal = Field(
        default="0",
        description="Sampling temperature. 0: that, or none where the model takes no such one, "
        "which the report says; another that it does not take is refused. Absent: 0.",
    )
    max_tokens: Annotated[int, Field(ge=16, le=65_536)] = Field(
        default=1024, description="Most tokens of a reply. Absent: 1024."
    )
    prices: Annotated[PricesSpec | None, HowOnly()] = Field(
        default=None,
        description="What `model` costs. Absent: as LiteLLM knows; an own server is free.",
    )
    batch: Annotated[Batch, HowOnly()] = Field(
        default=Batch.DISABLED,
        description="Enabled: ask through the batch API of OpenAI, or of a server that has the "
        "same, at its price, with answers within a day. Absent: Disabled.",
    )


class Orders(StrEnum):
    """Which completion a judge reads first."""

    BOTH = "Both"


class TiePolicy(StrEnum):
    """What a tie counts in the headline win rate."""

    NOT_BETTER = "NotBetter"


class OnUnavailable(StrEnum):
    """What happens when a judge stays away."""

    FAIL = "Fail"
    SKIP = "Skip"


class Control(StrEnum):
    """Completions that tell whether a judge can be trusted."""

    # Not "Null", which YAML reads as no value.
    NULL = "NullModel"
    SELF = "Self"
    PADDED = "Padded"


class JudgingSpec(Wire):
    """How comparisons are made."""

    orders: Orders = Field(
        default=Orders.BOTH, description="Both: each pair is judged in both orders. Absent: Both."
    )
    tie_policy: TiePolicy = Field(
        default=TiePolicy.NOT_BETTER,
        description="NotBetter: a tie is no win; the tie-adjusted rate stands beside it. "
        "Absent: NotBetter.",
    )
    on_unavailable: OnUnavailable = Field(
        default=OnUnavailable.FAIL,
        description="What happens when a judge stays away. Fail: verdicts got so far are kept and "
        "the stage fails. Skip: the judge is left out of what is left, whose verdicts are missing. "
        "Absent: Fail.",
    )
    controls: tuple[Control, ...] = Field(
        default=(Control.NULL,),
        description="NullModel: a constant answer, which must lose. Self: the baseline against "
        "itself, which must tie. Padded: the baseline's answers with words that say nothing, which "
        "must not win. Absent: NullModel.",
        max_length=3,
        json_schema_extra=unique_list(),
    )
    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=2, description="Times that an unreadable reply is asked for again. Absent: 2."
    )
    repeats: Annotated[int, Field(ge=1, le=10), AddedLater()] = Field(
        default=1,
        description="How often each judge is asked each comparison; from 2 on, the report says "
        "how often a judge contradicts itself. Absent: 1.",
    )
    budget_usd: Decimal | None = Field(
        default=None,
        description="Most that the run may spend on all judges together, however often it is "
        "started. When it is spent, nothing more is bought, and what was not is missing; raise it "
        "and start again to buy the rest. Absent: no limit.",
    )
    probe: Annotated[Probe, HowOnly()] = Field(
        default=Probe.ENABLED,
        description="Enabled: the preflight asks each judge for one word, so that a wrong key or "
        "setting is found before a model is trained; it costs a few tokens. Absent: Enabled.",
    )


class GenerationSpec(Wire):
    """How completions are sampled; the same for every variant."""

    max_tokens: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=1024, description="Most tokens of a completion. Absent: 1024."
    )
    temperature: Decimal = Field(
        default="0", description="Sampling temperature; 0 is greedy. Absent: 0."
    )
    concurrency: Annotated[int, Field(ge=1, le=1024), HowOnly()] = Field(
        default=16, description="Requests in flight at once. Absent: 16."
    )
    batch_size: Annotated[int, Field(ge=1, le=1024), HowOnly()] = Field(
        default=8, description="Most requests that the transformers engine batches. Absent: 8."
    )


class Keep(StrEnum):
    """What stays served when the run is over."""

    NONE = "None"
    WINNER = "Winner"


class ServingSpec(Wire):
    """How checkpoints are served."""

    keep: Keep = Field(
        default=Keep.NONE,
        description="In a cluster, what is served once the run has its leaderboard. Winner: the "
        "variant with the highest win rate, until this is None again, or the run is suspended or "
        "deleted; `status.serving` has the address. It may change at any time. Absent: None.",
    )


class Cleanup(StrEnum):
    """What becomes of a run's artefacts when the run is deleted."""

    KEEP = "Keep"
    DELETE = "Delete"


class QueueSpec(Wire):
    """The Kueue queue that admits the work."""

    name: Name = Field(description="Name of the LocalQueue. Must be given.")


class StorageSecretRef(Wire):
    """A Secret with the keys to a bucket."""

    name: Name = Field(
        description="Secret in the run's namespace with the keys AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY. Must be given."
    )


class StorageSpec(Wire):
    """The artefact store."""

    uri: Uri = Field(
        description="s3://BUCKET/FOLDER; or a folder or file:// URL, relative to the working "
        "directory (not in a cluster), or pvc://CLAIM/FOLDER (in a cluster). Must be given."
    )
    endpoint: HttpUrl | None = Field(
        default=None,
        description="Address of the server of all s3:// URIs of the run. Absent: "
        "AWS_ENDPOINT_URL, or AWS' own.",
    )
    secret_ref: StorageSecretRef | None = Field(
        default=None,
        description="Keys for all s3:// URIs of the run. Absent: what the pods are allowed anyway; "
        "on a laptop, the usual AWS variables and files in any case.",
    )


class StatisticsSpec(Wire):
    """How intervals are computed."""

    resamples: Annotated[int, Field(ge=100, le=1_000_000)] = Field(
        default=10_000, description="Bootstrap resamples. Absent: 10000."
    )
