"""What is known of the benchmark of 2024, and how close a run's judges are to its judges.

Source: `docs/docs/finetuning_benchmark/index.md` of PR-Agent at commit 2b0dfc62 (June 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

from tunebench_api.v1alpha1 import JudgeSpec
from tunebench_jobs.score.results import Replication, SizeGroup

# Its judges by their dated names. It says `gpt-4o`, which stood for this version at the time.
ORIGINAL_JUDGES = MappingProxyType(
    {
        "gpt-4-turbo-2024-04-09": "openai",
        "gpt-4o-2024-05-13": "openai",
        "claude-3-opus-20240229": "anthropic",
    }
)
# Its large models have 22 to 34 billion parameters, its small ones 7 and 8: the middle between.
LARGE_FROM_BILLIONS = 15.0


def find_group(size_billions: str | None) -> SizeGroup | None:
    """Return in which of its two tables a model of this size would stand."""
    if size_billions is None:
        return None
    large = float(size_billions) >= LARGE_FROM_BILLIONS
    return SizeGroup.LARGE if large else SizeGroup.SMALL


def find_replication(judge: JudgeSpec) -> Replication:
    """Return how close one judge is to a judge of 2024."""
    provider, _, name = judge.model.casefold().rpartition("/")
    if name in ORIGINAL_JUDGES:
        return Replication.EXACT
    families = set(ORIGINAL_JUDGES.values())
    # A model behind a reseller is known by the family that the run gives it.
    own = {(judge.family or "").casefold(), *provider.split("/")}
    return Replication.SAME_FAMILY if own & families else Replication.SUBSTITUTE


def find_panel_replication(judges: Sequence[JudgeSpec]) -> Replication | None:
    """Return how close the judges of the headline are, taken together; all three make it exact."""
    levels = [find_replication(judge) for judge in judges]
    if not levels:
        return None
    if Replication.SUBSTITUTE in levels:
        return Replication.SUBSTITUTE
    names = {judge.model.casefold().rpartition("/")[2] for judge in judges}
    return Replication.EXACT if names == ORIGINAL_JUDGES.keys() else Replication.SAME_FAMILY
