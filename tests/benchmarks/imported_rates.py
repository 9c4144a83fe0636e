"""Import every annotation file of a checkout of AlpacaEval, and compare with its leaderboards.

    PYTHONPATH=tests/support python tests/benchmarks/imported_rates.py CHECKOUT

CHECKOUT is a working tree, or a git directory, of github.com/tatsu-lab/alpaca_eval. The files are
AlpacaEval's, and stay there.
"""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from pathlib import Path

from tunebench_jobs.imports import import_command
from tunebench_jobs.imports.arrange import Filed, ImportedBoard, arrange_boards
from tunebench_jobs.imports.figures import build_figures
from tunebench_jobs.imports.store import load_set

LEADERBOARDS = {
    "weighted_alpaca_eval_gpt4_turbo": "data_AlpacaEval_2",
    "alpaca_eval_gpt4_turbo_fn": "data_AlpacaEval_2",
    "alpaca_eval_gpt4": "data_AlpacaEval",
}
FIGURES = ("win_rate", "standard_error", "discrete_win_rate")
# Their CSV holds at least so many digits.
SAME = 1e-6


def main(checkout: Path) -> int:
    """Compare all and return how many figures differ."""
    different = 0
    for annotator, folder in LEADERBOARDS.items():
        board = f"src/alpaca_eval/leaderboards/{folder}/{annotator}_leaderboard.csv"
        rows = csv.DictReader(io.StringIO(read(checkout, board).decode()))
        published = {row[""]: row for row in rows}
        different += compare_all(checkout, annotator, published)
    return different


def compare_all(checkout: Path, annotator: str, published: Mapping[str, dict[str, str]]) -> int:
    """Compare the models of one leaderboard."""
    worst, compared, different, absent, seconds = 0.0, 0, 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for model, row in published.items():
            content = read(checkout, f"results/{model}/{annotator}/annotations.json")
            if not content:
                absent += 1
                continue
            file = Path(folder) / "annotations.json"
            file.write_bytes(content)
            start = time.perf_counter()
            ours = import_one(Path(folder), file, f"m{compared}")
            seconds += time.perf_counter() - start
            compared += 1
            for name in FIGURES:
                if name in row and row[name] and name in ours:
                    distance = abs(float(row[name]) - ours[name])
                    worst = max(worst, distance)
                    if distance > SAME:
                        different += 1
                        print(f"{annotator}, {model}: {name} {row[name]} there, {ours[name]} here")
    print(
        f"{annotator}: {compared} models compared, {absent} without a file, {different} figures "
        f"differ; largest difference {worst:.1e} points; {seconds:.1f} s"
    )
    return different


def import_one(store: Path, file: Path, name: str) -> dict[str, float]:
    """Import a file and return AlpacaEval's figures of it."""
    arguments = ["--format", "alpaca-eval", "--store", str(store), "--name", name, str(file)]
    with redirect_stdout(io.StringIO()):
        code = import_command.main(arguments)
    loaded = load_set(store, name)
    if code or loaded is None:
        return {}
    pairs = zip(loaded.rows, loaded.entries, strict=True)
    (board,) = arrange_boards(Filed(loaded.manifest.format, row, entry) for row, entry in pairs)
    return dict(list_figures(board))


def list_figures(board: ImportedBoard) -> Iterator[tuple[str, float]]:
    """Yield the figures of the only model."""
    (entry,) = board.entries
    for figure in build_figures(board.source, entry, 0):
        yield figure.name, figure.value


def read(checkout: Path, path: str) -> bytes:
    """Return a file of the checkout, or nothing where it is absent."""
    if (checkout / "src").is_dir():
        file = checkout / path
        return file.read_bytes() if file.is_file() else b""
    done = subprocess.run(
        ["git", "-C", str(checkout), "show", f"HEAD:{path}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(bool(main(Path(sys.argv[1]))))
