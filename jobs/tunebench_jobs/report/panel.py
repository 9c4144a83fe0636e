"""The judges: how far they agree, and what speaks against each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tunebench_jobs.report.words import NOTHING, format_number, format_pct
from tunebench_jobs.score.cells import RELATION_WORDS
from tunebench_jobs.score.results import Coefficient, Kinship, Results, Warned

_KAPPA_STEPS = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class MatrixCell:
    """How far two judges agree; `tone` is the class of its colour."""

    value: str
    note: str
    tone: str


@dataclass(frozen=True)
class Matrix:
    """Judges against judges; on the diagonal there is nothing."""

    title: str
    note: str
    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[MatrixCell | None]]]


def list_other_warnings(results: Results) -> list[Warned]:
    """Return the warnings that no doubt about the judges says already, and more of it."""
    doubts = results.reliability.doubts if results.reliability else ()
    said = [(doubt.reason, f"`{doubt.judge}`" if doubt.judge else "") for doubt in doubts]
    return [
        warned
        for warned in results.warnings
        if not any(warned.reason == reason and whom in warned.message for reason, whom in said)
    ]


def build_matrices(results: Results) -> list[Matrix]:
    """Build the tables of agreement that the results have."""
    matrices = [_build_verdicts(results), _build_rankings(results)]
    return [matrix for matrix in matrices if matrix]


def format_coefficient(coefficient: Coefficient | None) -> str:
    """Return a coefficient with its interval."""
    if coefficient is None:
        return NOTHING
    value = format_number(coefficient.value, 2)
    if coefficient.lo is None or coefficient.hi is None:
        return value
    return f"{value} ({format_number(coefficient.lo, 2)} to {format_number(coefficient.hi, 2)})"


def describe_kinship(kinship: Kinship) -> str:
    """Say what a judge has to do with the run, and whether it shows."""
    relation = RELATION_WORDS[kinship.relation]
    head = f"{kinship.judge} is of the family {kinship.family}, which {relation}"
    if kinship.favour is None:
        return f"{head}; there is no other judge to compare it with."
    favour = format_number(kinship.favour.pct)
    ends = ""
    if kinship.favour.lo is not None and kinship.favour.hi is not None:
        low, high = format_number(kinship.favour.lo), format_number(kinship.favour.hi)
        ends = f" ({low} to {high})"
    return f"{head}; it is kinder to its own than the others by {favour} points{ends}."


def _build_verdicts(results: Results) -> Matrix | None:
    if not results.agreement:
        return None
    cells = {
        frozenset(pair.judges): MatrixCell(
            value=NOTHING if pair.kappa is None else format_number(pair.kappa, 2),
            note=f"{format_pct(pair.raw_pct)} the same of {pair.comparisons:,}",
            tone=_find_tone(pair.kappa),
        )
        for pair in results.agreement
    }
    return _build_matrix(
        results,
        cells,
        "The same verdicts",
        "Cohen's kappa over all comparisons that both judged: 0 is chance, 1 is always.",
    )


def _build_rankings(results: Results) -> Matrix | None:
    agreement = results.panel_agreement
    if agreement is None or not agreement.rankings:
        return None
    cells = {
        frozenset(pair.judges): MatrixCell(
            value=NOTHING if pair.tau is None else format_number(pair.tau.value, 2),
            note=_describe_ends(pair.tau),
            tone=_find_tone(pair.tau.value if pair.tau else None),
        )
        for pair in agreement.rankings
    }
    return _build_matrix(
        results,
        cells,
        "The same ranking",
        "Kendall's tau-b between the judges' rankings of all variants, with its 95 % interval.",
    )


def _describe_ends(coefficient: Coefficient | None) -> str:
    if coefficient is None or coefficient.lo is None or coefficient.hi is None:
        return "no interval"
    return f"{format_number(coefficient.lo, 2)} to {format_number(coefficient.hi, 2)}"


def _build_matrix(
    results: Results, cells: dict[frozenset[str], MatrixCell], title: str, note: str
) -> Matrix:
    names = [judge.name for judge in results.judges if any(judge.name in pair for pair in cells)]
    rows = [(name, list(_list_cells(name, names, cells))) for name in names]
    return Matrix(title, note, names, rows)


def _list_cells(
    name: str, names: Sequence[str], cells: dict[frozenset[str], MatrixCell]
) -> Iterator[MatrixCell | None]:
    missing = MatrixCell(NOTHING, "nothing that both judged", "level-none")
    for other in names:
        yield None if other == name else cells.get(frozenset({name, other}), missing)


def _find_tone(value: float | None) -> str:
    if value is None:
        return "level-none"
    return f"level-{sum(value >= step for step in _KAPPA_STEPS)}"
