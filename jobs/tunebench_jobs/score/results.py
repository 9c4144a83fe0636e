"""Everything that a scored run knows, as `results.json` holds it; percentages are floats."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import ConfigDict, Field

from tunebench_api.contamination import Contamination
from tunebench_api.contract import FailedModel, VariantKind
from tunebench_api.reliability import Reliability
from tunebench_api.v1alpha1 import Control, JudgingSpec, Tool, Wire

RESULTS_FILE = "results.json"
LEADERBOARD_FILE = "leaderboard.md"
REPORT_FILE = "report.html"
PARQUET_FILE = "comparisons.parquet"
CSV_FILE = "comparisons.csv"
FORMAT = 1

Setting = str | int | float | None


class Rate(Wire):
    """A percentage, or a difference in points; without ends, no interval can be given."""

    pct: float
    lo: float | None = None
    hi: float | None = None


class Coefficient(Wire):
    """A coefficient of at most 1, with its 95% interval; without ends, none can be given."""

    value: float
    lo: float | None = None
    hi: float | None = None


class Replication(StrEnum):
    """How close judges are to those of the benchmark of 2024."""

    EXACT = "Exact"
    SAME_FAMILY = "SameFamily"
    SUBSTITUTE = "Substitute"


class SizeGroup(StrEnum):
    """The two tables of the benchmark of 2024."""

    LARGE = "Large"
    SMALL = "Small"


class RankSet(Wire):
    """The ranks that the data allow: from `low`, the best, to `high`; 1 is the first."""

    point: int
    low: int
    high: int


class AnswerLength(Wire):
    """How long answers are, in tokens of what they say, without their YAML."""

    # Over the answers that can be read.
    mean_tokens: float
    # To the baseline's, over the same tasks; absent where the baseline says nothing.
    ratio: float | None


class LengthControlled(Wire):
    """The win rate, had every answer the length of the baseline's."""

    rate: Rate
    # Hardly any answer is as long as the baseline's, so the rate goes beyond what was seen.
    extrapolated: bool
    # Over which the interval was computed: each is a fit.
    resamples: int


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
    # The fields below are absent in results of older versions, and where there is nothing to say.
    # A task counts as won only if it is won in both orders.
    strict: Rate | None = None
    # The headline once more, with a normal interval from clustered standard errors.
    normal_check: Rate | None = None
    # With Wilson's interval; of one judge and one tool alone, over few pull requests.
    wilson_check: Rate | None = None
    length: AnswerLength | None = None
    length_controlled: LengthControlled | None = None
    # By `sizeBillions`.
    group: SizeGroup | None = None
    # Among all variants that are ranked, and among those of the same group.
    rank: RankSet | None = None
    group_rank: RankSet | None = None
    missing_pct: float | None = None


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
    # What it was sent besides the messages, by its vendor's names; null: not sent.
    settings: Mapping[str, Setting]
    # The fields below are absent in results of older versions.
    missing_pct: float | None = None
    # Verdicts that could not be read, of all that were asked for.
    parse_failures_pct: float | None = None
    # Decided verdicts for the longer of two answers that can be read.
    longer_wins_pct: float | None = None
    # The same, as if the model's answer were the longer one as often as the baseline's; 50 is fair.
    longer_wins_balanced_pct: float | None = None
    # Repeated questions that got more than one winner.
    repeat_flips_pct: float | None = None
    replication: Replication | None = None


class Agreement(Wire):
    """How often two judges give the same verdict, controls left out."""

    judges: tuple[str, str]
    comparisons: int
    raw_pct: float
    kappa: float | None


class PairResult(Wire):
    """Two variants against each other, over the tasks that both have a rate in."""

    better: str
    worse: str
    tasks: int
    # Of win rates, in points.
    difference: Rate
    # Sign flips of whole pull requests; exact where there are few.
    p: float
    # After Holm's correction over all pairs.
    p_holm: float
    # Exact McNemar test on what most of the panel gives to either in both orders; a check.
    p_mcnemar: float | None
    significant: bool


class Ranking(Wire):
    """How variants stand to each other."""

    # Who is ranked, the best first.
    variants: tuple[str, ...]
    pairs: tuple[PairResult, ...]
    # Share of pairs that differ significantly.
    separable_pct: float | None
    # Most false differences over all pairs, as a probability.
    level: float
    # Why no ranks are given; absent: they are.
    blocked: str | None


class Power(Wire):
    """What this run could have found: differences that it would miss in one case of five."""

    # What it was computed from, such as the median pair of models.
    basis: str
    standard_error: float
    # Of one comparison, and of the first of all with Holm's correction, in points.
    points: float
    points_holm: float
    comparisons: int


class RankAgreement(Wire):
    """How alike two judges rank the same variants: Kendall's tau-b."""

    judges: tuple[str, str]
    variants: int
    tau: Coefficient | None


class LeftOut(Wire):
    """How far a variant moves at most when one judge of the headline is left out."""

    judge: str
    max_rank_shift: int
    variant: str | None


class PanelAgreement(Wire):
    """How far all judges of the headline agree; controls are left out."""

    # Krippendorff's alpha of loss, tie and win as ordered values.
    alpha: Coefficient | None
    # Comparisons with at least two verdicts.
    comparisons: int
    rankings: tuple[RankAgreement, ...]
    left_out: tuple[LeftOut, ...]


class Relation(StrEnum):
    """What a judge's family has to do with the run."""

    BASELINE = "Baseline"
    TEACHER = "Teacher"
    MODEL = "Model"


class Kinship(Wire):
    """A judge of a family that takes part, and whether it favours its own."""

    judge: str
    family: str
    relation: Relation
    # Judges of other families that it is compared with.
    others: tuple[str, ...]
    # By how many points it is kinder to its own than they are: for the baseline, what it takes from
    # all variants; else a difference of differences between its own and all others. Absent where
    # nobody is left to compare with.
    favour: Rate | None


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
    # The fields below are absent in results of older versions.
    ranking: Ranking | None = None
    panel_agreement: PanelAgreement | None = None
    kinship: tuple[Kinship, ...] = ()
    power: Power | None = None
    reliability: Reliability | None = None
    replication: Replication | None = None
