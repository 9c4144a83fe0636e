"""Everything that a scored run knows, as `results.json` holds it; percentages are floats."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ConfigDict, Field

from tunebench_api.contamination import Contamination
from tunebench_api.contract import FailedModel, VariantKind
from tunebench_api.v1alpha1 import Control, JudgingSpec, Tool, Wire

RESULTS_FILE = "results.json"
LEADERBOARD_FILE = "leaderboard.md"
FORMAT = 1


class Rate(Wire):
    """A percentage, or a difference in points; without ends, no interval can be given."""

    pct: float
    lo: float | None = None
    hi: float | None = None


class Validity(Wire):
    """How completions read, in percent; strict, fixed and invalid add up to 100."""

    strict_pct: float
    fixed_pct: float
    invalid_pct: float
    empty_pct: float
    # Completions that were cut off at the token limit.
    cut_off_pct: float

    @property
    def valid_pct(self) -> float:
        """Completions that could be read, with or without repair."""
        return self.strict_pct + self.fixed_pct


class Bounds(Wire):
    """The win rate if every missing verdict were a loss, and if it were a win."""

    lo: float
    hi: float


class ToolResult(Wire):
    """A variant in one tool."""

    name: Tool
    tasks: int
    win_rate: Rate | None
    tie_adjusted: Rate | None
    validity: Validity


class JudgedResult(Wire):
    """A variant as one judge sees it."""

    name: str
    win_rate: Rate | None
    tie_adjusted: Rate | None


class VariantResult(Wire):
    """One variant; rates are absent where no task has a verdict in both orders."""

    name: str
    model: str
    kind: VariantKind
    control: Control | None
    size_billions: str | None
    tasks: int
    # Tasks whose verdicts are there in both orders, by at least one judge of the panel.
    judged: int
    missing: int
    win_rate: Rate | None
    tie_adjusted: Rate | None
    # Over all tasks alike, not by tool.
    micro_win_rate_pct: float | None
    # With the judges' word on completions that cannot be read; elsewhere these are lost.
    as_judged: Rate | None
    bounds: Bounds
    by_tool: tuple[ToolResult, ...]
    by_judge: tuple[JudgedResult, ...]
    validity: Validity
    untuned: str | None
    # Win rate minus the un-tuned variant's, over the tasks that both have.
    delta: Rate | None


class JudgeResult(Wire):
    """How a judge behaved; shares leave the controls out, counts and costs do not."""

    name: str
    model: str
    family: str | None
    llm: bool
    # Whether it counts in the headline: the reference judge does only where it is alone.
    in_panel: bool
    verdicts: int
    missing: Mapping[str, int]
    order_consistency_pct: float | None
    first_slot_pct: float | None
    ties_pct: float | None
    score_mismatch_pct: float | None
    re_asks: int
    cost_usd: float | None
    settings: Mapping[str, str | int]


class Agreement(Wire):
    """How often two judges give the same verdict, controls left out."""

    judges: tuple[str, str]
    comparisons: int
    raw_pct: float
    kappa: float | None


class Warned(Wire):
    """Something that a reader must know before trusting the numbers."""

    reason: str
    message: str


class Baseline(Wire):
    """What every variant is compared with."""

    name: str
    family: str | None
    validity: Validity
    # By tool, in the order of the run's tools.
    valid_pct_by_tool: tuple[float, ...]


class Method(Wire):
    """How the intervals were computed."""

    resamples: int
    seed: int
    confidence: float
    interval: str = "expanded percentile bootstrap over pull requests"


class FunnelStep(Wire):
    """What a step of the data stage took in and gave out, and how many it dropped for what."""

    model_config = ConfigDict(extra="ignore")

    step: str
    set: str
    # What is counted.
    unit: str
    taken: int = Field(alias="in")
    given: int = Field(alias="out")
    # To the other set.
    moved: int = 0
    dropped: Mapping[str, int]


class Results(Wire):
    """A scored run; the leaderboard is printed from this alone."""

    format: int = FORMAT
    run: str
    baseline: Baseline
    tools: tuple[Tool, ...]
    tasks: int
    pull_requests: int
    judging: JudgingSpec
    method: Method
    variants: tuple[VariantResult, ...]
    judges: tuple[JudgeResult, ...]
    agreement: tuple[Agreement, ...]
    failed: tuple[FailedModel, ...]
    warnings: tuple[Warned, ...]
    notes: tuple[str, ...]
    # Absent: the data was made by a version that did not say.
    contamination: Contamination | None = None
    funnel: tuple[FunnelStep, ...] = ()
    # SHA-256 by artefact, relative to the store.
    inputs: Mapping[str, str]
    prompts: Mapping[str, str]
    versions: Mapping[str, str]
