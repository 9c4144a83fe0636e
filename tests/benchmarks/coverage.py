"""How often intervals hold the truth, and how often tests cry wolf: `make interval-coverage`.

Simulates benchmarks of which the truth is known (tests/support/simulate_scores.py), with clusters,
ties and missing verdicts, and computes each one's intervals and p-values as the score stage does.

Exit codes: 0 all within the bounds; 1 otherwise.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from simulate_scores import Floats, World, average, find_truth, make_design, simulate, win

from tunebench_jobs.score.paired import build_sign_flip_p
from tunebench_jobs.score.statistics import (
    Bootstrap,
    Estimate,
    build_clustered_errors,
)

# Rounds that are held in memory at once.
_BATCH = 250
_COVERAGE = (0.93, 0.97)
_MOST_POSITIVES = 0.06
_LEVEL = 0.05


@dataclass(frozen=True)
class Scenario:
    """One kind of benchmark; the last two models are equally good."""

    name: str
    prs: int
    world: World
    # With few tasks that differ, many flips give the same difference: the test says less then.
    least_positives: float = 0.04


SCENARIOS = (
    Scenario("the benchmark of 2024: 100 pull requests", 100, World((-0.2, -1.0, -1.0))),
    Scenario("its later size: 200 pull requests", 200, World((-0.2, -1.0, -1.0))),
    Scenario("50 pull requests", 50, World((-0.2, -1.0, -1.0))),
    Scenario("20 pull requests", 20, World((-0.2, -1.0, -1.0)), least_positives=0.03),
    Scenario("rare wins, 100 pull requests", 100, World((-2.5, -4.0, -4.0))),
    Scenario("rare wins, 30 pull requests", 30, World((-2.5, -4.0, -4.0)), least_positives=0.03),
    Scenario("pull requests decide all", 100, World((-0.2, -1.0, -1.0), difficulty=4.0)),
    Scenario("no clusters", 100, World((-0.2, -1.0, -1.0), difficulty=0.0, liking=0.0)),
    Scenario("a tenth of the verdicts missing", 100, World((-0.2, -1.0, -1.0), missing=0.1)),
)


def main() -> int:
    """Print a row for each scenario."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=2000, help="benchmarks of each kind")
    parser.add_argument("--resamples", type=int, default=10_000, help="of each bootstrap and test")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    options = parser.parse_args()
    columns = ("win rate", "tie-adjusted", "difference", "normal", "false positives")
    print(f"| benchmarks | true rates [%] | {' | '.join(columns)} |")
    print(f"| --- | --- |{' ---: |' * len(columns)}")
    good = True
    for scenario in SCENARIOS:
        if options.only in scenario.name:
            good &= measure(scenario, options.rounds, options.resamples)
    return 0 if good else 1


def measure(scenario: Scenario, rounds: int, resamples: int) -> bool:
    """Print how often each interval held the truth; return whether that is within the bounds."""
    started = time.perf_counter()
    truth = find_truth(scenario.world, np.random.default_rng(1))
    hits: dict[str, list[bool]] = {}
    for seed, size in _cut(rounds):
        points = simulate(scenario.world, size, scenario.prs, np.random.default_rng([2, seed]))
        design = make_design(scenario.prs)
        for name, found in look(points, truth, Bootstrap(design, resamples, seed)).items():
            hits.setdefault(name, []).extend(found)
    shares = {name: float(np.mean(found)) for name, found in hits.items()}
    shown = " / ".join(f"{100 * rate:.1f}" for rate in truth[0][:2])
    cells = [f"{100 * share:.1f}" for share in shares.values()]
    print(f"| {scenario.name} | {shown} | {' | '.join(cells)} |", flush=True)
    print(f"{scenario.name}: {time.perf_counter() - started:.0f} s", file=sys.stderr)
    covered = [shares[name] for name in ("win rate", "tie-adjusted", "difference")]
    return all(_COVERAGE[0] <= share <= _COVERAGE[1] for share in covered) and (
        scenario.least_positives <= shares["false positives"] <= _MOST_POSITIVES
    )


def look(
    points: Floats, truth: tuple[Floats, Floats], bootstrap: Bootstrap
) -> dict[str, list[bool]]:
    """Return, round by round, whether each interval holds the truth and the test cries wolf."""
    wins, adjusted = average(win(points)), average(points)
    good, bad, same = (wins[:, model] for model in range(3))
    rates = bootstrap.estimate_rates(np.concatenate([good, bad]))
    split = [truth[0][0]] * len(good) + [truth[0][1]] * len(bad)
    ties = bootstrap.estimate_rates(adjusted[:, 0])
    differences = bootstrap.estimate_differences(good - bad)
    errors = build_clustered_errors(good, bootstrap.design)
    normal = [
        abs(estimate.point - truth[0][0]) <= 1.96 * error
        for estimate, error in zip(rates[: len(good)], errors, strict=True)
        if estimate
    ]
    flipped = build_sign_flip_p(bad - same, bootstrap.design, bootstrap.resamples, bootstrap.seed)
    return {
        "win rate": [_holds(each, value) for each, value in zip(rates, split, strict=True)],
        "tie-adjusted": [_holds(each, truth[1][0]) for each in ties],
        "difference": [_holds(each, truth[0][0] - truth[0][1]) for each in differences],
        "normal": normal,
        "false positives": list(flipped < _LEVEL),
    }


def _holds(estimate: Estimate | None, value: float) -> bool:
    if estimate is None or estimate.low is None or estimate.high is None:
        return False
    return estimate.low <= value <= estimate.high


def _cut(rounds: int) -> Iterator[tuple[int, int]]:
    for seed, first in enumerate(range(0, rounds, _BATCH)):
        yield seed, min(_BATCH, rounds - first)


if __name__ == "__main__":
    sys.exit(main())
