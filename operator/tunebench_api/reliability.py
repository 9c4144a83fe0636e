"""Whether the judges can be trusted, as the score stage reports and users read it."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict

from tunebench_api.v1alpha1 import Wire

# In the summary of the score stage.
SUMMARY_KEY = "reliability"


class DoubtReason(StrEnum):
    """What speaks against a judge, or against several together."""

    # Follows the place of a completion more than the completion.
    POSITION_BIAS = "PositionBias"
    # Gives other winners when the same two completions change places, by no rule.
    ORDERS_CONTRADICT = "OrdersContradict"
    # Takes the longer completion, whatever it says.
    PREFERS_LENGTH = "PrefersLength"
    # Gives no verdict too often.
    VERDICTS_MISSING = "VerdictsMissing"
    # Prefers a constant answer.
    NULL_CONTROL_WINS = "NullControlWins"
    # Prefers the baseline's own answers once they are padded.
    PADDED_CONTROL_WINS = "PaddedControlWins"
    # Finds a difference between two copies of one text.
    SELF_CONTROL_UNEVEN = "SelfControlUneven"
    # The judges of the headline agree too little.
    JUDGES_DISAGREE = "JudgesDisagree"


class Doubt(Wire):
    """One thing that speaks against the judges, and the numbers that it makes doubtful."""

    model_config = ConfigDict(extra="ignore")

    reason: str
    message: str
    # Whom it speaks against; absent: all judges of the headline together.
    judge: str | None = None
    # What not to trust, as the leaderboard names it.
    distrust: tuple[str, ...] = ()


class Reliability(Wire):
    """What was found about the judges; absent where there is no verdict to look at."""

    model_config = ConfigDict(extra="ignore")

    reliable: bool | None
    judges: tuple[str, ...]
    doubts: tuple[Doubt, ...] = ()

    def describe(self) -> str:
        """Return all of it as one line."""
        if self.reliable is None:
            return "no judge has given a verdict"
        if self.reliable:
            names = ", ".join(self.judges)
            return f"nothing speaks against {names}: places, lengths, controls, gaps, agreement"
        return "; ".join(doubt.message for doubt in self.doubts)
