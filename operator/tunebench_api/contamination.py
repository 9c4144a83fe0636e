"""How training was kept apart from the evaluation, as the data stage reports and users read it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import ConfigDict

from tunebench_api.v1alpha1 import Wire

# In the summary of the data stage.
SUMMARY_KEY = "contamination"


class MatchKind(StrEnum):
    """What two pull requests have in common, the strictest first."""

    SAME_ID = "SameId"
    # The same lines in the same files; context, line numbers and spaces aside.
    SAME_PATCH = "SamePatch"
    # The names of the files aside, too.
    NORMALISED_PATCH = "NormalisedPatch"
    # Most runs of five words.
    NEAR_DUPLICATE = "NearDuplicate"
    # A fifth of the evaluation's runs of 13 words.
    WORD_RUNS = "WordRuns"


_WORDS: Mapping[str, str] = {
    MatchKind.SAME_ID: "id",
    MatchKind.SAME_PATCH: "patch",
    MatchKind.NORMALISED_PATCH: "patch without file names",
    MatchKind.NEAR_DUPLICATE: "near-duplicates",
    MatchKind.WORD_RUNS: "runs of 13 words",
}


class Contamination(Wire):
    """What the training pull requests were compared with, by what, and how many were left out."""

    model_config = ConfigDict(extra="ignore")

    # Kinds of matches that were looked for.
    checked: tuple[str, ...]
    # Training pull requests left out, by the kind of their match.
    removed: dict[str, int]
    # Training pull requests that were compared.
    train: int
    # Pull requests of the evaluation that they were compared with.
    eval: int

    def describe(self) -> str:
        """Return all of it as a sentence."""
        words = [_WORDS.get(kind, kind) for kind in self.checked]
        by = f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
        found = ", ".join(f"{kind}: {count}" for kind, count in sorted(self.removed.items()))
        out = sum(self.removed.values())
        left = f"{out:,} were left out of training ({found})" if out else "none had to be left out"
        return (
            f"{self.train:,} training pull requests were compared with {self.eval:,} of the "
            f"evaluation by {by}; {left}"
        )
