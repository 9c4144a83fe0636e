"""Imported verdicts give the numbers that their sources publish, and ours beside them."""

from __future__ import annotations

import json
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from make_imports import make_annotation, make_judgment, make_match, save_array, save_lines

from tunebench_api.contract import VerdictFormat
from tunebench_jobs.imports import import_command
from tunebench_jobs.imports.arrange import Filed
from tunebench_jobs.imports.imported import build_set
from tunebench_jobs.imports.markdown import render_imports
from tunebench_jobs.imports.results import BoardResult, ImportedResults, ImportedVariant
from tunebench_jobs.imports.score import score_imports
from tunebench_jobs.score import command


def score(source: VerdictFormat, rows: Iterable[Any], resamples: int = 500) -> ImportedResults:
    """Score rows as if they had been imported."""
    parse = import_command.find_parser(source, None)
    numbered = enumerate(rows, 1)
    games = [
        game
        for number, row in numbered
        for game in parse(import_command.Row(Path("f"), number, row))
    ]
    imported = build_set(source, games, None)
    entries = {entry.key: entry for each in imported.entries.values() for entry in each}
    filed = [Filed(source, row, entries[row.key]) for row in imported.rows]
    return score_imports([], filed, resamples=resamples, seed=1, versions={})


def only(results: ImportedResults) -> tuple[BoardResult, ImportedVariant]:
    """Return the one table and its one model."""
    (board,) = results.boards
    (row,) = board.variants
    return board, row


def list_figures(row: ImportedVariant) -> dict[str, float]:
    """Return the source's own figures by the only judge."""
    (judged,) = row.by_judge
    return {each.name: each.value for each in judged.figures}


def test_alpaca_eval_computes_the_same() -> None:
    """Win rate, standard error and discrete win rate follow its formulas; ours stand beside."""
    draw = random.Random(7)  # noqa: S311 - an example
    values = [round(draw.uniform(1, 2), 4) for _ in range(60)] + [1.5, 1.5, 0, 2.0]
    results = score(
        VerdictFormat.ALPACA_EVAL,
        [make_annotation(n, value) for n, value in enumerate([*values, None, None])],
    )
    board, row = only(results)

    shares = [(value or 1.5) - 1 for value in values]
    wins = sum(share > 0.5 for share in shares)
    draws = sum(share == 0.5 for share in shares)
    assert list_figures(row) == {
        "win_rate": pytest.approx(100 * statistics.mean(shares)),
        "standard_error": pytest.approx(100 * statistics.stdev(shares) / len(shares) ** 0.5),
        "discrete_win_rate": pytest.approx(100 * (wins + draws / 2) / len(shares)),
    }
    assert row.preference is not None
    assert row.win_rate is not None
    assert row.tie_adjusted is not None
    assert row.preference.pct == pytest.approx(100 * statistics.mean(shares), abs=1e-3)
    assert row.win_rate.pct == pytest.approx(100 * wins / len(shares), abs=1e-3)
    assert row.tie_adjusted.pct == pytest.approx(100 * (wins + draws / 2) / len(shares), abs=1e-3)
    assert (row.tasks, row.judged, row.missing) == (66, 64, 2)
    assert (row.bounds.lo, row.bounds.hi) == (
        pytest.approx(100 * wins / 66, abs=1e-3),
        pytest.approx(100 * (wins + 2) / 66, abs=1e-3),
    )
    assert board.judges[0].missing == {"Unreadable": 2}
    assert board.judges[0].order_consistency_pct is None
    assert any("shuffles" in note for note in results.notes)


def test_the_interval_covers_what_the_standard_error_says() -> None:
    """Of independent questions, the bootstrap and the formula agree within a tenth."""
    draw = random.Random(3)  # noqa: S311 - an example
    rows = [make_annotation(n, 1 + draw.random()) for n in range(400)]
    _, row = only(score(VerdictFormat.ALPACA_EVAL, rows, resamples=4000))

    assert row.preference is not None
    assert row.preference.lo is not None
    assert row.preference.hi is not None
    error = list_figures(row)["standard_error"]
    assert row.preference.hi - row.preference.lo == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_arena_hard_computes_the_same() -> None:
    """Strong verdicts count three times, and a question without both games not at all."""
    labels: Sequence[tuple[str | None, str | None]] = [
        *[("A>>B", "B>>A")] * 3,
        *[("B>A", "A>B")] * 4,
        *[("A=B", "A>>B")] * 2,
        ("B>>A", None),
    ]
    rows = [make_judgment(n, pair) for n, pair in enumerate(labels)]
    board, row = only(score(VerdictFormat.ARENA_HARD, rows))

    exploded = [0] * 18 + [1] * 8 + [0.5, 1, 1, 1] * 2
    assert list_figures(row) == {"score": pytest.approx(100 * statistics.mean(exploded))}
    assert row.preference is not None
    assert row.preference.pct == pytest.approx(100 * (4 + 2 * 0.75) / 9, abs=1e-3)
    assert (row.judged, row.missing) == (9, 1)
    assert board.judges[0].order_consistency_pct == pytest.approx(100 * 7 / 9, abs=1e-3)


def test_fastchat_computes_the_same() -> None:
    """Games that disagree are a tie, and errors are left out."""
    pairs = [
        *[("model_1", "model_1")] * 4,
        *[("model_2", "model_2")] * 3,
        *[("model_1", "model_2")] * 2,
        ("tie", "tie"),
        ("tie", "model_1"),
        ("error", "model_1"),
    ]
    board, row = only(
        score(VerdictFormat.FASTCHAT, [make_match(n, pair) for n, pair in enumerate(pairs)])
    )

    assert list_figures(row) == {
        "win_rate": pytest.approx(100 * 4 / 11),
        "loss_rate": pytest.approx(100 * 3 / 11),
        "win_rate_adjusted": pytest.approx(100 * (4 + 4 / 2) / 11),
    }
    # Model first in the first game: it wins 6 of 6 there and 3 of 9 in the second were first's.
    first = Counter()
    for ours, theirs in pairs:
        first.update([ours == "model_1"] if ours in {"model_1", "model_2"} else [])
        first.update([theirs == "model_2"] if theirs in {"model_1", "model_2"} else [])
    assert board.judges[0].first_slot_pct == pytest.approx(
        100 * first[True] / first.total(), abs=1e-3
    )


def test_turns_of_a_question_widen_the_interval() -> None:
    """Two turns that agree are one question, not two."""
    alike = [
        make_match(n, ("model_1", "model_1") if n % 2 else ("model_2", "model_2"), turn=turn)
        for n in range(30)
        for turn in (1, 2)
    ]
    apart = [
        make_match(n, ("model_1", "model_1") if n % 2 else ("model_2", "model_2"))
        for n in range(60)
    ]
    widths = []
    for rows in (alike, apart):
        _, row = only(score(VerdictFormat.FASTCHAT, rows, resamples=2000))
        assert row.preference is not None
        assert row.preference.lo is not None
        assert row.preference.hi is not None
        widths.append(row.preference.hi - row.preference.lo)

    assert widths[0] > 1.3 * widths[1]


def test_models_are_compared_task_by_task() -> None:
    """A better model is above, its difference is paired, and ranks say what is sure."""
    rows = []
    for n in range(80):
        rows.append(make_annotation(n, 1.9 if n % 4 else 1.1, generator_2="strong"))
        rows.append(make_annotation(n, 1.6 if n % 4 else 1.1, generator_2="weak"))
        rows.append(make_annotation(n, 1.6 if n % 4 else 1.1, generator_2="weak twin"))
    results = score(VerdictFormat.ALPACA_EVAL, rows)
    (board,) = results.boards

    names = [row.name for row in board.variants]
    assert names[0] == "strong"
    pairs = {(pair.better, pair.worse): pair for pair in board.pairs}
    sure = pairs["strong", "weak"]
    assert sure.difference.pct == pytest.approx(100 * 0.3 * 0.75, abs=1e-3)
    assert sure.significant
    assert not pairs["weak", "weak twin"].significant
    assert [(row.rank_low, row.rank_high) for row in board.variants] == [(1, 1), (2, 3), (2, 3)]


def test_length_control_takes_back_what_length_alone_won() -> None:
    """A judge that always prefers the longer one gives no preference at equal length."""
    rows = []
    for n in range(200):
        longer = n % 4 != 0
        text = "m" * (150 + n % 7 if longer else 50 - n % 7)
        rows.append(make_annotation(n, 1.9 if longer else 1.1, output_2=text))
    _, row = only(score(VerdictFormat.ALPACA_EVAL, rows))

    assert row.preference is not None
    assert row.preference.pct == pytest.approx(70, abs=0.1)
    assert row.length is not None
    assert row.length.controlled is not None
    assert row.length.controlled.pct == pytest.approx(50, abs=4)
    assert not row.length.extrapolated


def test_each_baseline_has_a_table() -> None:
    """What was compared with another baseline is never averaged in."""
    rows = [make_judgment(n, ("B>A", "A>B")) for n in range(5)]
    rows += [
        make_judgment(n, ("A>B", "B>A"), category="creative_writing", baseline="gemini-2.0-flash")
        for n in range(5, 12)
    ]
    results = score(VerdictFormat.ARENA_HARD, rows)

    shown = {board.baseline: board.variants[0].preference for board in results.boards}
    assert {name: rate.pct for name, rate in shown.items() if rate} == {
        "o3-mini": 100,
        "gemini-2.0-flash": 0,
    }


def test_judges_and_groups_have_their_own_rates() -> None:
    """Two judges make a panel, and say how far they agree."""
    rows = []
    for n in range(40):
        rows.append(make_annotation(n, 2.0 if n % 2 else 1.0, annotator="one"))
        rows.append(make_annotation(n, 2.0, annotator="two"))
    board, row = only(score(VerdictFormat.ALPACA_EVAL, rows))

    assert [judged.preference.pct for judged in row.by_judge if judged.preference] == [50, 100]
    assert row.preference is not None
    assert row.preference.pct == 75
    assert [(group.name, group.tasks) for group in row.by_group] == [
        ("helpful_base", 20),
        ("koala", 20),
    ]
    (agreement,) = board.agreement
    assert (agreement.comparisons, agreement.raw_pct) == (40, 50)


def test_the_command_scores_what_was_imported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice gives the same bytes; sets are scored together; files have the same content."""
    first = save_array(tmp_path / "a.json", [make_annotation(n, 1.2) for n in range(9)])
    second = save_lines(tmp_path / "b.jsonl", [make_judgment(n, ("B>A", "A>B")) for n in range(9)])
    store = ["--store", str(tmp_path)]
    import_command.main(["--format", "alpaca-eval", *store, "--name", "a", str(first)])
    import_command.main(["--format", "arena-hard", *store, "--name", "b", str(second)])
    capsys.readouterr()
    outputs = []
    for _ in range(2):
        options = ["--resamples", "200", "-o", "json", "--out", str(tmp_path / "out")]
        assert command.main([*store, *options, "a", "b"]) == 0
        outputs.append(capsys.readouterr().out)

    assert outputs[0] == outputs[1] == (tmp_path / "out/results.json").read_text()
    results = ImportedResults.from_wire(json.loads(outputs[0]))
    assert [each.name for each in results.sets] == ["a", "b"]
    assert [board.source for board in results.boards] == ["alpaca-eval", "arena-hard"]
    assert (tmp_path / "out/leaderboard.md").read_text() == render_imports(results)


def test_a_set_that_is_not_there_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The message lists those that are."""
    file = save_array(tmp_path / "a.json", [make_annotation(1, 1.2)])
    store = ["--store", str(tmp_path)]
    import_command.main(["--format", "alpaca-eval", *store, "--name", "mine", str(file)])

    assert command.main([*store, "yours"]) == 2
    assert "set `yours`; it has imported sets mine" in caplog.text
    (next(tmp_path.glob("verdicts/*/*.jsonl"))).unlink()
    assert command.main([*store, "mine"]) == 2
    assert "import the set again" in caplog.text


def test_what_two_sets_share_counts_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same set twice, or the same verdicts under two names, change no number."""
    rows = [make_annotation(n, 1.2 + n / 10) for n in range(5)]
    store = ["--store", str(tmp_path)]
    for name, held in (("some", rows[:3]), ("all", rows)):
        file = save_array(tmp_path / f"{name}.json", held)
        import_command.main(["--format", "alpaca-eval", *store, "--name", name, str(file)])
    boards = []
    for names in (["all"], ["all", "all"], ["all", "some"]):
        capsys.readouterr()
        command.main([*store, "--resamples", "200", "-o", "json", *names])
        boards.append(json.loads(capsys.readouterr().out)["boards"])

    assert boards[0] == boards[1] == boards[2]


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`--out` that is a file ends in words."""
    file = save_array(tmp_path / "a.json", [make_annotation(1, 1.2)])
    store = ["--store", str(tmp_path)]
    import_command.main(["--format", "alpaca-eval", *store, "--name", "mine", str(file)])

    assert command.main([*store, "--resamples", "200", "--out", str(file), "mine"]) == 2
    assert "must be a path that can be used" in caplog.text


def test_strangers_names_have_no_power_over_the_page() -> None:
    """Names of models and judges come from a file of somebody else."""
    name = "<img src=x onerror=alert(1)> | `x`\n# big"
    rows = [make_annotation(n, 1.2, generator_2=name, annotator=name) for n in range(3)]
    page = render_imports(score(VerdictFormat.ALPACA_EVAL, rows))

    assert "<img" not in page
    assert "\n# big" not in page
