"""The judges in the leaderboard: how they behave, how far they agree, whether to trust them."""

from __future__ import annotations

from collections.abc import Iterator

from tunebench_jobs.markdown import show, show_in_code
from tunebench_jobs.score.cells import (
    NOTHING,
    RELATION_WORDS,
    format_change,
    format_coefficient,
    format_number,
    name_judge,
    render_table,
)
from tunebench_jobs.score.results import PanelAgreement, Results


def mark_doubtful(title: str, number: str, results: Results) -> str:
    """Return the title of a column; one that is not to be trusted says so."""
    doubts = results.reliability.doubts if results.reliability else ()
    doubtful = any(number in doubt.distrust for doubt in doubts)
    return f"{title} (**do not trust**)" if doubtful else title


def render_reliability(results: Results) -> Iterator[str]:
    """Yield what speaks against the judges, before any number; nothing, if nothing does."""
    found = results.reliability
    if found is None or not found.doubts:
        return
    yield "## Do not trust all of these numbers"
    yield ""
    yield from (f"- {' '.join(doubt.message.split())}." for doubt in found.doubts)


def render_judges(results: Results) -> Iterator[str]:
    """Yield how each judge behaved."""
    yield "## Judges"
    yield ""
    yield from render_table(
        [
            "judge",
            "model",
            "verdicts",
            "missing",
            "same winner in both orders [%]",
            "first place wins [%]",
            "ties [%]",
            "asked again",
            "cost [USD]",
        ],
        "llrrrrrrr",
        [
            [
                name_judge(judge),
                f"`{show_in_code(judge.model)}`",
                str(judge.verdicts),
                str(sum(judge.missing.values())),
                format_number(judge.order_consistency_pct),
                format_number(judge.first_slot_pct),
                format_number(judge.ties_pct),
                str(judge.re_asks),
                "unknown" if judge.cost_usd is None else f"{judge.cost_usd:.2f}",
            ]
            for judge in results.judges
        ],
    )
    yield ""
    yield from _render_habits(results)


def _render_habits(results: Results) -> Iterator[str]:
    yield from render_table(
        [
            "judge",
            "longer wins [%]",
            "longer wins, balanced [%]",
            "not readable [%]",
            "verdict against own scores [%]",
            "changes its mind when asked again [%]",
            "beside the judges of 2024",
        ],
        "lrrrrrl",
        [
            [
                name_judge(judge),
                format_number(judge.longer_wins_pct),
                format_number(judge.longer_wins_balanced_pct),
                format_number(judge.parse_failures_pct),
                format_number(judge.score_mismatch_pct),
                format_number(judge.repeat_flips_pct),
                judge.replication or NOTHING,
            ]
            for judge in results.judges
        ],
    )


def render_agreement(results: Results) -> Iterator[str]:
    """Yield how far judges agree, by pairs and together."""
    if not results.agreement:
        return
    names = {judge.name: name_judge(judge) for judge in results.judges}
    yield "## Agreement of judges"
    yield ""
    yield from render_table(
        ["judges", "comparisons", "same verdict [%]", "Cohen's kappa"],
        "lrrr",
        [
            [
                " and ".join(names[name] for name in pair.judges),
                str(pair.comparisons),
                format_number(pair.raw_pct),
                NOTHING if pair.kappa is None else f"{pair.kappa:.2f}",
            ]
            for pair in results.agreement
        ],
    )
    if results.panel_agreement:
        yield ""
        yield from _render_panel(results.panel_agreement)


def _render_panel(panel: PanelAgreement) -> Iterator[str]:
    yield (
        "- Krippendorff's alpha of the headline's judges, ordinal: "
        f"{format_coefficient(panel.alpha)} over {panel.comparisons} comparisons."
    )
    for ranking in panel.rankings:
        yield (
            f"- Kendall's tau-b of the orders by {' and '.join(map(show, ranking.judges))}: "
            f"{format_coefficient(ranking.tau)} over {ranking.variants} models."
        )
    for left in panel.left_out:
        moved = f"{left.max_rank_shift} ranks at most"
        if left.variant:
            moved += f" ({show(left.variant)})"
        yield f"- Without {show(left.judge)} a model moves by {moved}."


def render_kinship(results: Results) -> Iterator[str]:
    """Yield whether judges favour what their own family made."""
    if not results.kinship:
        return
    yield "## Judges with relatives in the run"
    yield ""
    yield from render_table(
        ["judge", "family", "which", "compared with", "kinder to its own by [points]"],
        "llllr",
        [
            [
                show(kin.judge),
                show(kin.family),
                RELATION_WORDS[kin.relation],
                ", ".join(map(show, kin.others)) or "nobody of another family",
                format_change(kin.favour),
            ]
            for kin in results.kinship
        ],
    )
