"""Why pull requests are left out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from tunebench_api.v1alpha1 import Tool


class RowDrop(StrEnum):
    """Why a row, or what it has for one tool, is not used."""

    BROKEN_ROW = "BrokenRow"
    LICENSE = "License"
    BOT = "Bot"
    REVERT = "Revert"
    NO_CHANGE = "NoChange"
    GENERATED_ONLY = "GeneratedOnly"
    BINARY_ONLY = "BinaryOnly"
    TOO_LARGE = "TooLarge"
    LANGUAGE = "Language"
    SECRET = "Secret"  # noqa: S105 - a reason
    DUPLICATE = "Duplicate"
    NEAR_DUPLICATE = "NearDuplicate"
    # With a holdout by repository and time.
    REPOSITORY_OF_EVAL = "RepositoryOfEval"
    NEWER_THAN_EVAL = "NewerThanEval"
    DUPLICATE_OF_EVAL = "DuplicateOfEval"
    SIMILAR_TO_EVAL = "SimilarToEval"
    OVER_LIMIT = "OverLimit"
    # By a person.
    REJECTED = "Rejected"
    NO_ANSWER = "NoAnswer"
    ANSWER_INVALID = "AnswerInvalid"
    ANSWER_CUT_OFF = "AnswerCutOff"
    ANSWER_FILES = "AnswerFiles"
    LOW_QUALITY = "LowQuality"
    TOO_MANY_TOKENS = "TooManyTokens"


# How long a detail may be: it quotes what a stranger wrote.
DETAIL_CHARACTERS = 500


@dataclass(frozen=True)
class Finding:
    """What is wrong with a pull request, or with its answer."""

    reason: RowDrop
    detail: str = ""


@dataclass(frozen=True)
class DroppedRow:
    """A row that is not used, or not for `tool`."""

    dataset: str
    origin: str
    pr: str
    # A `RowDrop`, or the word for a commit that gives no row.
    reason: StrEnum
    tool: Tool | None = None
    detail: str = ""
