"""Verdicts once more from the replies in the ledgers, beside the rows of the judge stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tunebench_api.contract import RESULT_FILE
from tunebench_jobs.context import StageContext
from tunebench_jobs.judge.ledger import LEDGER_FOLDER, Ledger, LedgerEntry, MissingCause
from tunebench_jobs.judge.records import VerdictRow, read_entry
from tunebench_jobs.judge.verdicts import UnparsableVerdictError
from tunebench_jobs.score.outcomes import JudgedVariant
from tunebench_jobs.stage import load_result


@dataclass(frozen=True)
class Replay:
    """Variants with verdicts as the ledgers have them, and how these compare with the rows."""

    variants: tuple[JudgedVariant, ...]
    same: int
    # Another verdict, such as one that was missing when the row was written.
    different: int
    # Not in a ledger; the row stands.
    absent: int

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.same} verdicts are as in the ledgers, {self.different} are not, and "
            f"{self.absent} are in no ledger"
        )


def replay_variants(variants: Sequence[JudgedVariant], context: StageContext) -> Replay:
    """Read every reply again; nobody is asked."""
    ledgers: dict[str, Ledger] = {}
    replayed = []
    counts = dict.fromkeys(("same", "different", "absent"), 0)
    for variant in variants:
        of_judges = _open_ledgers(variant, context, ledgers)
        rows = []
        for row in variant.verdicts:
            entry = _find_entry(row, of_judges)
            again = row if entry is None else _read(row, entry)
            # Where no judge was asked there is nothing to look up.
            known = "absent" if entry is None and row.key else "same"
            counts[known if again == row else "different"] += 1
            rows.append(again)
        replayed.append(replace(variant, verdicts=rows))
    return Replay(tuple(replayed), **counts)


def _read(row: VerdictRow, entry: LedgerEntry) -> VerdictRow:
    try:
        return read_entry(row, entry)
    except UnparsableVerdictError:
        # A parser of another version could read it.
        return row.model_copy(update={"winner": None, "missing": MissingCause.UNREADABLE})


def _find_entry(row: VerdictRow, ledgers: Mapping[str, Ledger]) -> LedgerEntry | None:
    return ledgers[row.judge].get(row.key) if row.key and row.judge in ledgers else None


def _open_ledgers(
    variant: JudgedVariant, context: StageContext, opened: dict[str, Ledger]
) -> dict[str, Ledger]:
    """Return the ledgers that a judge stage filled, by judge; each is read once."""
    result = load_result(context.path(f"{variant.spec.judge}/{RESULT_FILE}").parent)
    judges = result.summary.get("judges", ()) if result else ()
    named = {each["name"]: each["ledger"] for each in judges if each.get("ledger")}
    for digest in named.values():
        if digest not in opened:
            folder = context.store / LEDGER_FOLDER / digest
            opened[digest] = Ledger(context.open_journal(folder))
    return {name: opened[digest] for name, digest in named.items()}
