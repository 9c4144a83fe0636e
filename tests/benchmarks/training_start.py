"""What a training does before its first step: `make training-start` prints docs/performance.md.

Rows of `make_corpus` become tokens by three ways, each in a process of its own: one by one into
memory, as each worker of each attempt did it in earlier versions; into the file that all workers
map, at the first start; and the same at a later start, which finds it. Then a small model learns
some of them, to say which share of a step its next batch takes: waited for, with a thread that
builds it before, or built when it is needed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training_data import save_random_model

PROMPTS = Path(__file__).parents[2] / "prompts"
ROWS_FILE, MODEL_FOLDER = "train.parquet", "model"
MAX_LENGTH = 8192
STEPS = 6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=25_000)
    parser.add_argument("--folder", type=Path, help="keep rows and tokenizer here")
    parser.add_argument("--ways", nargs="+", help="these only", choices=_WAYS)
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        way, folder = options.one
        print(json.dumps(_WAYS[way](Path(folder))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / ROWS_FILE).exists():
            make_rows(folder, options.rows)
        for way in options.ways or _WAYS:
            print(f"{way}: {measure(way, folder)}", flush=True)


def measure(way: str, folder: Path) -> dict[str, Any]:
    """Run one way in a process of its own."""
    command = [sys.executable, __file__, "--one", way, str(folder)]
    environment = {**os.environ, "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def make_rows(folder: Path, count: int) -> None:
    """Write a training set of the data stage, and a small model."""
    import pyarrow as pa  # noqa: PLC0415 - measured ways need none of these
    import pyarrow.parquet as pq  # noqa: PLC0415 - likewise
    from make_corpus import make_pulls  # noqa: PLC0415 - likewise

    from tunebench_api.v1alpha1 import Answers, PromptsSpec, Tool  # noqa: PLC0415 - likewise
    from tunebench_jobs.data.render import Renderer  # noqa: PLC0415 - likewise
    from tunebench_jobs.prompt_source import load_configured_prompts  # noqa: PLC0415 - likewise

    renderer = Renderer(
        load_configured_prompts(PromptsSpec(builtin="default"), PROMPTS), Answers.ROWS
    )
    rows = []
    for pull in make_pulls(count):
        for tool in Tool:
            if answer := pull.answers.get(tool):
                messages = renderer.render(pull, tool)
                rows.append(
                    {
                        "pr": pull.id,
                        "repository": pull.repository,
                        "tool": tool.value,
                        "system": messages.system,
                        "user": messages.user,
                        "answer": answer,
                    }
                )
        if len(rows) >= count:
            break
    folder.mkdir(parents=True, exist_ok=True)
    texts = [(row["system"], row["user"], row["answer"]) for row in rows[:600]]
    save_random_model(folder / MODEL_FOLDER, "5M", texts)
    pq.write_table(pa.Table.from_pylist(rows[:count]), folder / ROWS_FILE)


def finish(begin: tuple[float, float, int], **others: Any) -> dict[str, Any]:
    """Return the figures of a way that has just ended."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin[2]
    return {
        "seconds": round(time.monotonic() - begin[0], 1),
        "cpu_seconds": round(time.process_time() - begin[1], 1),
        "more_memory_mb": round(memory / 1000),
        **others,
    }


def begin() -> tuple[float, float, int]:
    """Return the moment, the CPU time and the memory of now."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return time.monotonic(), time.process_time(), memory


def load_tokenizer(folder: Path) -> Any:
    """Return the tokenizer, and have all libraries imported."""
    import pyarrow.dataset  # noqa: PLC0415 - not to be measured
    import pyarrow.parquet  # noqa: F401, PLC0415 - likewise
    import torch  # noqa: F401, PLC0415 - likewise
    from transformers import AutoTokenizer  # noqa: PLC0415 - likewise

    return AutoTokenizer.from_pretrained(folder / MODEL_FOLDER)


def run_one_by_one(folder: Path) -> dict[str, Any]:
    """Make tokens of each row alone, and keep them as numbers of Python's."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    from tunebench_jobs.chat import build_example  # noqa: PLC0415 - likewise
    from tunebench_jobs.records import TrainExample  # noqa: PLC0415 - likewise

    tokenizer = load_tokenizer(folder)
    started = begin()
    table = pq.read_table(folder / ROWS_FILE).to_pylist()
    rows = [TrainExample.model_validate(row) for row in table]
    made = (
        build_example(tokenizer, system=row.system, user=row.user, answer=row.answer)
        for row in rows
    )
    kept = [each for each in made if len(each.input_ids) <= MAX_LENGTH]
    digest = hashlib.sha256()
    for each in kept:
        digest.update(repr((each.input_ids, each.answer_tokens)).encode())
    return finish(started, examples=len(kept), tokens=sum(len(each.input_ids) for each in kept))


def run_prepared(folder: Path) -> dict[str, Any]:
    """Open the training set as the train stage does."""
    from tunebench_api.v1alpha1 import Overflow  # noqa: PLC0415 - as above
    from tunebench_jobs.train.prepared import Source, open_train_set  # noqa: PLC0415 - likewise

    tokenizer = load_tokenizer(folder)
    started = begin()
    source = Source(folder / ROWS_FILE, tokenizer, MAX_LENGTH, Overflow.DROP)
    train_set = open_train_set(source, folder / "work")
    tokens, digest = sum(train_set.lengths), train_set.digest
    size = (folder / "work" / "tokens.arrow").stat().st_size
    return finish(
        started, examples=len(train_set.table), tokens=tokens, digest=digest, file_mb=size >> 20
    )


def run_steps(folder: Path) -> dict[str, Any]:
    """Learn some steps with a small model; say what a batch costs, and what is waited for."""
    from tunebench_api.v1alpha1 import Overflow, Precision, TuningSpec  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.batches import build_batches  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.engine import build_engine  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.loop import Hooks, Work, choose_rows, run_loop  # noqa: PLC0415
    from tunebench_jobs.train.loss import AnswerLoss  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.place import Place  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.prepare import prepare_model  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.prepared import Source, open_train_set  # noqa: PLC0415 - likewise
    from tunebench_jobs.train.schedule import build_steps  # noqa: PLC0415 - likewise

    tokenizer = load_tokenizer(folder)
    import torch  # noqa: PLC0415 - likewise

    tuning = TuningSpec.from_wire(
        {"maxSteps": STEPS, "maxLength": MAX_LENGTH, "checkpointSteps": 1_000_000}
    )
    place = Place(0, 1, torch.device("cpu"))
    source = Source(folder / ROWS_FILE, tokenizer, MAX_LENGTH, Overflow.DROP)
    train_set = open_train_set(source, folder / "work")
    model = prepare_model(folder / MODEL_FOLDER, tuning, Precision.FLOAT32, 0, place.device)
    engine = build_engine(AnswerLoss(model.train(), autocast=None), tuning, place.device)
    work = Work(train_set, tuning, 0, 0, folder / "points", "start")
    quiet = Hooks(lambda *_: None, lambda *_: None)
    position = run_loop(engine, work, place, quiet)
    started = time.monotonic()
    steps = build_steps(train_set.lengths, work.build_sizes(1), seed=0, first=0, end=STEPS)
    for _ in build_batches(steps, train_set, 0, choose_rows(work, place)):
        pass
    inline = time.monotonic() - started
    return {
        "seconds_in_steps": round(position.seconds, 1),
        "waited_pct": round(100 * position.waited_seconds / position.seconds, 2),
        "built_inline_pct": round(100 * inline / position.seconds, 2),
    }


_WAYS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "one by one": run_one_by_one,
    "first start": run_prepared,
    "later start": run_prepared,
    "steps": run_steps,
}

if __name__ == "__main__":
    main()
