"""Pull requests to train on and to evaluate with, and how they are cleaned."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from tunebench_api.v1alpha1.rules import GivenWhen, unique_list
from tunebench_api.v1alpha1.sources import EvalSource, SecretRef, TrainSource
from tunebench_api.v1alpha1.wire import Decimal, HowOnly, HttpUrl, Share, ShortText, Wire


class Answers(StrEnum):
    """Who wrote the answers that models are trained on."""

    ROWS = "Rows"
    HUMAN = "Human"
    TEACHER = "Teacher"


class Licenses(StrEnum):
    """Which pull requests may be used."""

    ANY = "Any"
    PERMISSIVE = "Permissive"


class CleaningStep(StrEnum):
    """A step of the cleaning funnel that can be left out."""

    BOTS = "Bots"
    REVERTS = "Reverts"
    GENERATED = "Generated"
    SECRETS = "Secrets"
    BINARY = "Binary"
    SIZE = "Size"
    ANSWER_COMPLETE = "AnswerComplete"
    ANSWER_FILES = "AnswerFiles"
    NEAR_DUPLICATES = "NearDuplicates"


class PricesSpec(Wire):
    """What a model costs."""

    input_usd: Decimal = Field(
        alias="inputUSDPerMillion",
        description="US dollars for a million tokens of prompts. Must be given.",
    )
    output_usd: Decimal = Field(
        alias="outputUSDPerMillion",
        description="US dollars for a million tokens of replies. Must be given.",
    )


class LlmSpec(Wire):
    """A model that is asked through LiteLLM, with the most that it may cost."""

    model: ShortText = Field(description="LiteLLM model id, with a dated version. Must be given.")
    family: ShortText | None = Field(
        default=None,
        description="Vendor family, so that related judges are flagged. Absent: unknown.",
    )
    api_base: HttpUrl | None = Field(
        default=None, description="Address of an OpenAI-compatible server. Absent: the vendor's."
    )
    secret_ref: Annotated[SecretRef | None, HowOnly()] = Field(
        default=None, description="API key. Absent: the vendor's usual environment variable."
    )
    concurrency: Annotated[int, Field(ge=1, le=1024), HowOnly()] = Field(
        default=16, description="Requests in flight at once. Absent: 16."
    )
    temperature: Decimal = Field(default="0.2", description="Sampling temperature. Absent: 0.2.")
    max_tokens: Annotated[int, Field(ge=1, le=65_536)] = Field(
        default=2048, description="Most tokens of a reply. Absent: 2048."
    )
    # Not `HowOnly`: it decides which answers are there when it is spent.
    budget_usd: Decimal = Field(
        alias="budgetUSD",
        description="Most to spend each time that the data is prepared; replies that are kept from "
        "before cost nothing. Nothing starts when the estimate is higher. Must be given.",
    )
    prices: PricesSpec | None = Field(
        default=None,
        description="What the model costs. Absent: what LiteLLM knows, and nothing where it knows "
        "no price of a model at `apiBase`.",
    )


class QualitySpec(LlmSpec):
    """An LLM judge that says which training answers are good enough."""

    minimum: Annotated[int, Field(ge=1, le=10)] = Field(
        default=6, description="Lowest score, of 1 to 10, that is kept. Absent: 6."
    )


class CleaningSpec(Wire):
    """Which pull requests are left out; each one is kept aside with its reason."""

    skip: tuple[CleaningStep, ...] = Field(
        default=(),
        description="Steps to leave out. Absent: none.",
        max_length=len(CleaningStep),
        json_schema_extra=unique_list(),
    )
    languages: tuple[ShortText, ...] = Field(
        default=(),
        description="Languages that pull requests may have, such as Python. Absent: any.",
        max_length=128,
        json_schema_extra=unique_list(),
    )
    max_diff_kib: Annotated[int, Field(ge=1, le=16_384)] = Field(
        default=128, alias="maxDiffKiB", description="Most KiB of diff. Absent: 128."
    )
    max_files: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=100, description="Most changed files. Absent: 100."
    )
    max_tokens: Annotated[int, Field(ge=16, le=1_000_000)] | None = Field(
        default=None,
        description="Most tokens (cl100k_base) of a prompt with its answer; longer ones are left "
        "out, never cut. Absent: no limit.",
    )
    near_duplicates: Share = Field(
        default="0.8",
        description="Two pull requests are near-duplicates from this similarity (Jaccard index of "
        "the runs of five words in their changed lines) on. Absent: 0.8.",
    )
    quality: QualitySpec | None = Field(
        default=None, description="LLM judge of training answers. Absent: none is asked."
    )


class DatasetSpec(Wire):
    """Pull requests to train on and to evaluate with."""

    rules = (GivenWhen("teacher", "answers", "Teacher"),)

    train: TrainSource = Field(description="Pull requests to train on. Must be given.")
    eval: EvalSource = Field(description="Pull requests to evaluate with. Must be given.")
    answers: Answers = Field(
        default=Answers.ROWS,
        description="Rows: each row carries its answers. Human: the title and description that "
        "people wrote are the answer to Describe, and are hidden from the prompt. Teacher: an LLM "
        "writes the answers that rows lack. Absent: Rows.",
    )
    teacher: LlmSpec | None = Field(
        default=None, description="LLM that writes answers. Absent: `answers` is not Teacher."
    )
    licenses: Licenses = Field(
        default=Licenses.ANY, description="Licences that rows may have. Absent: Any."
    )
    cleaning: CleaningSpec | None = Field(
        default=None,
        description="What is left out. Absent: rows are taken as they are, and a broken one stops "
        "the run; pull requests of the evaluation set are kept from training in any case.",
    )
    teacher_family: ShortText | None = Field(
        default=None,
        description="Family of the model that wrote the answers which rows carry, so that judges "
        "of the same family are flagged, as those of the family of `teacher` are. Absent: unknown.",
    )

    @property
    def makers(self) -> tuple[tuple[str, LlmSpec], ...]:
        """The models that are asked for training data, by their places in the run."""
        quality = self.cleaning.quality if self.cleaning else None
        found = (("teacher", self.teacher), ("cleaning.quality", quality))
        return tuple((f"spec.dataset.{field}", llm) for field, llm in found if llm)

    @property
    def source_secrets(self) -> tuple[tuple[str, SecretRef], ...]:
        """The keys that sources of pull requests ask for, by the places of their owners."""
        return tuple(
            (f"spec.dataset.{name}.{field}", owner.secret_ref)
            for name, source in (("train", self.train), ("eval", self.eval))
            for field, owner in (("gitHub", source.git_hub), ("huggingFace", source.hugging_face))
            if owner and owner.secret_ref
        )

    @property
    def teacher_families(self) -> tuple[str, ...]:
        """Families of the models that wrote training answers, as far as they are known."""
        families = (self.teacher_family, self.teacher.family if self.teacher else None)
        return tuple(dict.fromkeys(family for family in families if family))
