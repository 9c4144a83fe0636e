"""What models' preference would be, had their completions the length of the baseline's; pure."""

from __future__ import annotations

import numpy as np

from tunebench_jobs.imports.arrange import ImportedBoard, ImportedEntry
from tunebench_jobs.imports.results import ImportedLength
from tunebench_jobs.score.board import build_rate
from tunebench_jobs.score.length import is_extrapolated
from tunebench_jobs.score.logistic import Covariates, fit_all, fit_draws
from tunebench_jobs.score.results import Rate
from tunebench_jobs.score.statistics import Bootstrap, Floats, build_estimate

# Each is a fit.
_RESAMPLES = 500
_DIGITS = 1


def build_length(
    entry: ImportedEntry, board: ImportedBoard, bootstrap: Bootstrap
) -> ImportedLength | None:
    """Fit one model by AlpacaEval's formula, without the difficulty of instructions.

    AlpacaEval fits each model alone; the difficulty comes from models that are not in the file.
    """
    preference = entry.outcomes.tie_adjusted(range(len(board.judges)))
    known = entry.outcomes.expected.any(axis=(0, 2, 3))
    differences = entry.model_lengths - entry.baseline_lengths
    present = ~np.isnan(preference)
    if np.isnan(differences[known]).any() or not present.any():
        return None
    seen = differences[present]
    return ImportedLength(
        model_characters=round(float(entry.model_lengths[known].mean()), _DIGITS),
        baseline_characters=round(float(entry.baseline_lengths[known].mean()), _DIGITS),
        controlled=_control(preference, differences, board, bootstrap) if seen.std() else None,
        extrapolated=is_extrapolated(seen),
    )


def _control(
    preference: Floats, differences: Floats, board: ImportedBoard, bootstrap: Bootstrap
) -> Rate | None:
    design = board.design
    present = ~np.isnan(preference)
    spread = float(differences[present].std())
    # Tasks that this model was not asked have no difference; their share is absent too.
    lengths = np.tanh(np.where(present, differences, 0.0) / spread)
    covariates = Covariates(
        outcomes=preference[None, :], lengths=lengths[None, :], tools=design.tools
    )
    start = fit_all(covariates)
    draws = bootstrap.collect(
        lambda drawn: fit_draws(covariates, start, drawn[:, design.clusters])[:, 0],
        resamples=min(_RESAMPLES, bootstrap.resamples),
    )
    point = float(start.rates[0, 0, 0])
    return build_rate(build_estimate(point, draws[:, 0], design.cluster_count))
