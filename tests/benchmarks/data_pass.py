"""What a dataset costs: `make data-pass` prints the figures of docs/performance.md.

Pull requests of `make_corpus` go through the whole pass for three tools: read, cleaned, freed of
copies, split, gated, answers checked, prompts rendered and counted, Parquet written. The same steps
are done as one would with the `datasets` library, a `map` and a `filter` with two processes for
each step, so that each can be counted, and `datasketch`. Both call the same functions to clean, to
check and to render; what differs is how rows travel and how copies are found. Each measurement is
a process of its own, whose memory is summed up over all processes that it starts.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

from make_corpus import make_pulls
from measuring import watch_memory

from tunebench_api.contract import DataConfig, Progress
from tunebench_api.v1alpha1 import Answers, CleaningSpec, Licenses, PromptsSpec, Tool
from tunebench_jobs.data.build import Place, build_dataset
from tunebench_jobs.data.clean import Cleaner, build_cleaner, check_answer, check_length
from tunebench_jobs.data.drops import Finding
from tunebench_jobs.data.finish import Form
from tunebench_jobs.data.funnel import render_funnel
from tunebench_jobs.data.github.source import GitHubPlace
from tunebench_jobs.data.render import Renderer
from tunebench_jobs.data.teacher.replies import Shelf
from tunebench_jobs.prompt_source import load_configured_prompts
from tunebench_jobs.rows import PullRequest

PROMPTS = Path(__file__).parents[2] / "prompts"
WORKERS = 2
HELD_OUT = 100
THRESHOLD, SLOTS, SHINGLE, RUN = 0.8, 128, 5, 13
MAX_TOKENS = 32_000
PROMPT_SET = PromptsSpec(builtin="default")
_WORD = re.compile(r"\w+")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[5000, 25_000])
    parser.add_argument("--full", action="store_true", help="100,000 rows as well (an hour)")
    parser.add_argument("--peer-rows", type=int, default=25_000, help="rows for the other way")
    parser.add_argument("--folder", type=Path, help="keep the rows here, and use what is there")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_WAYS[options.one[0]](Path(options.one[1]))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        compare(options, options.folder or Path(scratch))


def compare(options: argparse.Namespace, folder: Path) -> None:
    """Measure our way with each size, and the other way with one."""
    sizes = [*options.rows, *([100_000] if options.full else [])]
    files = {
        size: save_corpus(folder / f"prs-{size}.jsonl", size)
        for size in {*sizes, options.peer_rows}
    }
    ours = {size: measure("ours", files[size]) for size in sizes}
    first = ours[sizes[0]]
    for size, figures in ours.items():
        cost = figures["cpu_seconds"] / size / (first["cpu_seconds"] / sizes[0])
        print(f"{describe(size, figures)}; {cost:.2f} times the CPU per row of {sizes[0]:,}")
    print("\n".join(render_funnel(ours[sizes[-1]]["funnel"])))
    size = options.peer_rows
    mine = ours.get(size) or measure("ours", files[size])
    theirs = measure("theirs", files[size])
    print(f"datasets.map and datasketch: {describe(size, theirs)}")
    ratio = theirs["seconds"] / mine["seconds"]
    print(f"the other way takes {ratio:.1f} times as long for {size:,} rows")


def save_corpus(path: Path, count: int) -> Path:
    """Write so many rows, unless they are there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            for pull in make_pulls(count):
                file.write(pull.model_dump_json(exclude={"languages", "answered_by"}) + "\n")
    return path


def measure(way: str, file: Path) -> dict[str, Any]:
    """Run one way in a process of its own, and watch its memory."""
    command = [sys.executable, __file__, "--one", way, str(file)]
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "HF_DATASETS_CACHE": cache, "HF_HUB_OFFLINE": "1"}
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
            peak = watch_memory(process)
            said = process.stdout.read() if process.stdout else b""
    if process.returncode:
        sys.exit(f"{way} ended with code {process.returncode}")
    figures: dict[str, Any] = json.loads(said.splitlines()[-1])
    return figures | {"peak_mb": round(peak / 1e6)}


def describe(size: int, figures: dict[str, Any]) -> str:
    """Return the figures of one measurement as a line."""
    return (
        f"{size:,} rows: {figures['seconds']:.1f} s, {size / figures['seconds']:,.0f} rows/s, "
        f"{figures['cpu_seconds']:.1f} s of CPU, {figures['examples']:,} examples, "
        f"at most {figures['peak_mb']:,} MB"
    )


def run_ours(file: Path) -> dict[str, Any]:
    """Carry out the pass."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        place = Place(
            output=root,
            sources=root / "sources",
            prompts_dir=PROMPTS,
            report=_ignore,
            shelf=Shelf(root / "replies"),
            collections=GitHubPlace(root / "github"),
            cpus=WORKERS,
        )
        started = time.perf_counter()
        built = build_dataset(build_config(file), place, Form.PROMPTS)
        seconds = time.perf_counter() - started
    examples = sum(built.summary["examples"].values())
    return build_figures(seconds, examples) | {"funnel": built.summary["funnel"]}


def run_theirs(file: Path) -> dict[str, Any]:
    """Do the same steps one after the other, with `datasets` and `datasketch`."""
    import datasets  # noqa: PLC0415 - our way does not pay for it

    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        rows = datasets.load_dataset("json", data_files=str(file), split="train")
        for step in load_cleaner().steps:
            rows = rows.map(partial(clean_row, step), num_proc=WORKERS)
            rows = rows.filter(is_kept, num_proc=WORKERS)
            print(f"{step}: {len(rows)} left", file=sys.stderr)
        rows = rows.map(sign_row, num_proc=WORKERS)
        rows = rows.select(list(find_unique(rows)))
        rows = rows.sort("merged_at")
        held = rows.select(range(len(rows) - HELD_OUT, len(rows)))
        train = rows.select(range(len(rows) - HELD_OUT))
        train = train.select(list(find_apart(train, held)))
        made = 0
        for name, part in (("train", train), ("eval", held)):
            rendered = part.map(
                render_rows, batched=True, num_proc=WORKERS, remove_columns=part.column_names
            )
            kept = rendered.filter(is_kept, num_proc=WORKERS)
            kept.to_parquet(Path(folder) / f"{name}.parquet")
            made += len(kept) if name == "train" else 0
        seconds = time.perf_counter() - started
    return build_figures(seconds, made)


def clean_row(step: str, row: dict[str, Any]) -> dict[str, Any]:
    """Take one step of cleaning with a row, or say why it is dropped."""
    found = dict(load_cleaner().chain)[step](parse(row))
    if isinstance(found, Finding):
        return {"dropped": str(found.reason)}
    plain = found.model_dump(mode="json", include={"title", "description", "commits", "files"})
    return {**plain, "dropped": None}


def is_kept(row: dict[str, Any]) -> bool:
    """Whether no step has dropped a row."""
    return row["dropped"] is None


@cache
def load_cleaner() -> Cleaner:
    """Build the cleaner, once in each process."""
    return build_cleaner(CleaningSpec(), Licenses.PERMISSIVE)


def sign_row(row: dict[str, Any]) -> dict[str, Any]:
    """Add the digest, the MinHash and the runs of words of a row."""
    from datasketch import MinHash  # noqa: PLC0415 - our way does not pay for it

    words = list_words(row)
    minhash = MinHash(SLOTS)
    minhash.update_batch([" ".join(each).encode() for each in cut_runs(words, SHINGLE)])
    text = "".join("".join(file["patch"].split()) for file in row["files"])
    return {
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "minhash": minhash.hashvalues.tolist(),
        "runs": sorted({hash_run(each) for each in cut_runs(words, RUN)}),
    }


def find_unique(rows: Any) -> Iterator[int]:
    """Yield the places of rows that repeat no earlier one."""
    from datasketch import MinHashLSH  # noqa: PLC0415 - our way does not pay for it

    index = MinHashLSH(THRESHOLD, SLOTS)
    digests: set[str] = set()
    minhashes: dict[int, Any] = {}
    for place, row in enumerate(rows.select_columns(["digest", "minhash"])):
        minhash = build_minhash(row["minhash"])
        near = (minhashes[each].jaccard(minhash) for each in index.query(minhash))
        if row["digest"] in digests or max(near, default=0) >= THRESHOLD:
            continue
        digests.add(row["digest"])
        minhashes[place] = minhash
        index.insert(place, minhash)
        yield place


def find_apart(train: Any, held: Any) -> Iterator[int]:
    """Yield the places of training rows that resemble nothing that is held out."""
    from datasketch import MinHashLSH  # noqa: PLC0415 - our way does not pay for it

    index = MinHashLSH(THRESHOLD, SLOTS)
    runs: dict[int, list[int]] = {}
    sizes = []
    for place, row in enumerate(held):
        index.insert(place, build_minhash(row["minhash"]))
        sizes.append(len(row["runs"]))
        for run in row["runs"]:
            runs.setdefault(run, []).append(place)
    for place, row in enumerate(train.select_columns(["minhash", "runs"])):
        shared = [0] * len(sizes)
        for run in row["runs"]:
            for owner in runs.get(run, ()):
                shared[owner] += 1
        most = max(count / max(size, 1) for count, size in zip(shared, sizes, strict=True))
        if most < 1 / 5 and not index.query(build_minhash(row["minhash"])):
            yield place


def render_rows(batch: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return a training example for each tool of each row."""
    renderer = Renderer(load_configured_prompts(PROMPT_SET, PROMPTS), Answers.ROWS)
    made: dict[str, list[Any]] = {
        name: [] for name in ("pr", "repository", "tool", "system", "user", "answer", "dropped")
    }
    columns = list(batch)
    for values in zip(*batch.values(), strict=True):
        pr = parse(dict(zip(columns, values, strict=True)))
        for tool in Tool:
            answer = pr.answers.get(tool)
            finding = check_answer(pr, tool, answer)
            messages = renderer.render(pr, tool)
            texts = (messages.system, messages.user)
            finding = finding or check_length(messages, answer or "", MAX_TOKENS)
            cells = (pr.id, pr.repository, tool, *texts, answer, finding and str(finding.reason))
            for name, cell in zip(made, cells, strict=True):
                made[name].append(cell)
    return made


def parse(row: dict[str, Any]) -> PullRequest:
    """Parse a row of `datasets`, which shows what is absent as nothing."""
    columns = PullRequest.model_fields.keys() & row.keys()
    plain = {name: row[name] for name in columns if row[name] is not None}
    if isinstance(plain["merged_at"], datetime):
        plain["merged_at"] = plain["merged_at"].isoformat()
    plain["files"] = [
        {name: value for name, value in file.items() if value is not None} for file in row["files"]
    ]
    return PullRequest.model_validate(plain)


def list_words(row: dict[str, Any]) -> list[str]:
    """Return the words of the changed lines."""
    lines = (line for file in row["files"] for line in file["patch"].split("\n"))
    changed = "\n".join(line[1:] for line in lines if line[:1] in {"+", "-"})
    return _WORD.findall(changed.lower())


def cut_runs(words: list[str], width: int) -> Iterator[tuple[str, ...]]:
    """Yield each run of so many words."""
    return zip(*(islice(words, start, None) for start in range(width)), strict=False)


def hash_run(words: tuple[str, ...]) -> int:
    """Return a hash of a run that is the same in every process."""
    digest = hashlib.blake2b(" ".join(words).encode(), digest_size=7).digest()
    return int.from_bytes(digest, "big")


def build_minhash(values: list[int]) -> Any:
    """Build a MinHash from its stored values."""
    from datasketch import MinHash  # noqa: PLC0415 - our way does not pay for it

    return MinHash(SLOTS, hashvalues=values, scheme="affine32")


def build_config(file: Path) -> DataConfig:
    """Return the config of the data stage for a file."""
    dataset = {
        "train": {"uri": str(file)},
        "eval": {"holdout": "Newest", "perTool": HELD_OUT},
        "licenses": "Permissive",
        "cleaning": {"maxTokens": MAX_TOKENS},
    }
    raw = {"dataset": dataset, "tools": list(Tool), "prompts": PROMPT_SET.to_wire(), "seed": 1}
    return DataConfig.from_wire(raw)


def build_figures(seconds: float, examples: int) -> dict[str, Any]:
    """Return what one measurement says of itself; children that ended are counted."""
    times = os.times()
    return {"seconds": seconds, "cpu_seconds": sum(times[:4]), "examples": examples}


def _ignore(_progress: Progress) -> None:
    """Tell nobody."""


_WAYS = {"ours": run_ours, "theirs": run_theirs}

if __name__ == "__main__":
    main()
