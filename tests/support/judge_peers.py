"""Other programs that judge pairs: how each is installed, told of the pairs, started and read.

Each gets the setting that its manual recommends for speed. What they need comes from PyPI into an
environment of their own; two are not there and are taken from a checkout.
"""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from judged_pairs import BASELINE, Pair
from limited_judge import Dialect

from tunebench_jobs.judge.verdicts import Winner

_KEY = "local"
_ALPACA_PROMPT = """\
<|im_start|>system
You compare two answers to a task and name the better one.
<|im_end|>
<|im_start|>user
The task:
{instruction}

The answer of model m:
{output_1}

The answer of model M:
{output_2}

Which model's answer is better? Say m or M and nothing else.
<|im_end|>"""
_INSPECT_TASK = """\
import re

from inspect_ai import Task, task
from inspect_ai.dataset import json_dataset
from inspect_ai.scorer import Score, mean, scorer
from inspect_ai.solver import generate


@scorer(metrics=[mean()])
def verdict():
    async def score(state, target):
        found = re.search(r"which_response_was_better: *([012])", state.output.completion)
        slot = found[1] if found else "none"
        return Score(value=1 if slot == "1" else 0, answer=slot)

    return score


@task
def judging():
    return Task(dataset=json_dataset("samples.jsonl"), solver=generate(), scorer=verdict())
"""
# Whether A is better, by Arena-Hard's five words for it.
_ARROWS = {"A>>B": 1, "A>B": 1, "A=B": 0, "B>A": -1, "B>>A": -1}

Said = Iterator[tuple[int, Winner | None]]


@dataclass(frozen=True)
class Work:
    """What a peer is to do; `prompts` are those of our own judges, two for each pair."""

    pairs: Sequence[Pair]
    prompts: Sequence[str]
    folder: Path
    api_base: str
    parallel: int
    model: str

    def save(self, path: str, text: str) -> Path:
        """Write a file of the peer's."""
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
        return place


@dataclass(frozen=True)
class Command:
    """How a peer is started in its folder."""

    arguments: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Peer:
    """A program: `prepare` writes its inputs, `load` reads the verdicts that it left."""

    name: str
    dialect: Dialect
    requirements: Sequence[str]
    prepare: Callable[[Work, Path, Path | None], Command]
    load: Callable[[Work], Said]
    # What its checkout is called, where PyPI does not have it.
    repository: str | None = None
    # Whether it takes what else it imports, torch above all, from the environment of this process.
    borrows: bool = False


def install(peer: Peer, uv: Path, cache: Path) -> Path:
    """Return the interpreter of a peer's environment, made when it is not there."""
    folder = cache / peer.name
    python = folder / "bin/python"
    done = folder / "requirements.txt"
    wanted = "\n".join(peer.requirements)
    if not (done.is_file() and done.read_text(encoding="utf-8") == wanted):
        subprocess.run([uv, "venv", "--clear", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "--python", python, *peer.requirements], check=True)
        if peer.borrows:
            site = next(folder.glob("lib/python*/site-packages"))
            (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        done.write_text(wanted, encoding="utf-8")
    return python


def prepare_alpaca_eval(work: Work, python: Path, _checkout: Path | None) -> Command:
    """Show each pair twice, swapped: one order of each is drawn by the instruction alone."""
    rows = [
        (pair, shown)
        for pair in work.pairs
        for shown in ((pair.baseline, pair.answer), (pair.answer, pair.baseline))
    ]
    for name, side in (("first", 0), ("second", 1)):
        outputs = [
            {"instruction": pair.text, "output": shown[side], "generator": name}
            for pair, shown in rows
        ]
        work.save(f"{name}.json", json.dumps(outputs))
    work.save("judge/prompt.txt", _ALPACA_PROMPT)
    annotator = {
        "prompt_template": "judge/prompt.txt",
        "fn_completions": "openai_completions",
        "completions_kwargs": {
            "model_name": work.model,
            "max_tokens": 1,
            "temperature": 1,
            "logprobs": True,
            "top_logprobs": 5,
        },
        "fn_completion_parser": "logprob_parser",
        "completion_parser_kwargs": {
            "numerator_token": "m",
            "denominator_tokens": ["m", "M"],
            "is_binarize": False,
        },
        "completion_key": "completions_all",
        "batch_size": 1,
    }
    work.save("judge/configs.yaml", yaml.safe_dump({"judge": annotator}))
    client = {"default": [{"api_key": _KEY, "base_url": work.api_base}]}
    work.save("client.yaml", yaml.safe_dump(client))
    settings = {
        "--model_outputs": "second.json",
        "--reference_outputs": "first.json",
        "--annotators_config": str(work.folder / "judge"),
        "--annotation_kwargs": "{'is_ordered': True}",
        "--fn_metric": "get_winrate",
        "--sort_by": "win_rate",
        "--precomputed_leaderboard": "None",
        "--caching_path": "None",
        "--output_path": "out",
    }
    flat = [part for setting in settings.items() for part in setting]
    environment = {
        "OPENAI_CLIENT_CONFIG_PATH": str(work.folder / "client.yaml"),
        "OPENAI_MAX_CONCURRENCY": str(work.parallel),
        "OPENAI_API_KEY": _KEY,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    return Command([str(python.with_name("alpaca_eval")), *flat], environment)


def load_alpaca_eval(work: Work) -> Said:
    """Yield the verdicts; 1.5 is a tie, and below it the first output is better."""
    places = {pair.answer: place for place, pair in enumerate(work.pairs)}
    for row in json.loads((work.folder / "out/annotations.json").read_bytes()):
        is_first = row["output_1"] in places
        place = places[row["output_1" if is_first else "output_2"]]
        preference = row["preference"]
        lead = 0 if preference is None else round(1.5 - preference, 6)
        yield place, None if preference is None else _name_winner(lead if is_first else -lead)


def prepare_fastchat(work: Work, python: Path, checkout: Path | None) -> Command:
    """Judge against a baseline, both orders, one turn."""
    assert checkout is not None
    tasks = {pair.task: pair for pair in work.pairs}
    questions = [
        {"question_id": pair.task, "category": "writing", "turns": [pair.text]}
        for pair in tasks.values()
    ]
    work.save("data/pairs/question.jsonl", _dump(questions))
    for model, answers in _list_answers(work.pairs).items():
        rows = [
            {"question_id": task, "model_id": model, "choices": [{"index": 0, "turns": [answer]}]}
            for task, answer in answers.items()
        ]
        work.save(f"data/pairs/model_answer/{model}.jsonl", _dump(rows))
    (work.folder / "data/pairs/reference_answer").mkdir(parents=True, exist_ok=True)
    code = checkout / "fastchat/llm_judge"
    arguments = [
        *(str(python), str(code / "gen_judgment.py"), "--mode", "pairwise-baseline"),
        *("--judge-file", str(code / "data/judge_prompts.jsonl"), "--bench-name", "pairs"),
        # It takes only judges whose names it knows.
        *("--judge-model", "gpt-4", "--baseline-model", BASELINE),
        *("--parallel", str(work.parallel), "--model-list", *_list_models(work.pairs)),
    ]
    environment = {
        "PYTHONPATH": str(checkout),
        "OPENAI_API_BASE": work.api_base,
        "OPENAI_API_KEY": _KEY,
    }
    return Command(arguments, environment)


def load_fastchat(work: Work) -> Said:
    """Yield the verdicts of both games."""
    winners = {"model_1": Winner.MODEL, "model_2": Winner.BASELINE, "tie": Winner.TIE}
    places = _list_places(work.pairs)
    for row in _load(work.folder / "data/pairs/model_judgment/gpt-4_pair.jsonl"):
        for game in ("g1_winner", "g2_winner"):
            yield places[row["model_1"], row["question_id"]], winners.get(row[game])


def prepare_arena_hard(work: Work, python: Path, checkout: Path | None) -> Command:
    """Judge against the baseline that a category of prompts has."""
    assert checkout is not None
    tasks = {pair.task: pair for pair in work.pairs}
    questions = [
        {"uid": pair.task, "category": "hard_prompt", "prompt": pair.text}
        for pair in tasks.values()
    ]
    work.save("data/pairs/question.jsonl", _dump(questions))
    for model, answers in _list_answers(work.pairs).items():
        rows = [
            {
                "uid": task,
                "model": model,
                "messages": [{"role": "assistant", "content": {"answer": answer}}],
            }
            for task, answer in answers.items()
        ]
        work.save(f"data/pairs/model_answer/{model}.jsonl", _dump(rows))
    settings = yaml.safe_load((checkout / "config/arena-hard-v2.0.yaml").read_text())
    settings |= {
        "judge_model": work.model,
        "bench_name": "pairs",
        "model_list": _list_models(work.pairs),
    }
    endpoint = {
        "model": work.model,
        "endpoints": [{"api_base": work.api_base, "api_key": _KEY}],
        "api_type": "openai",
        "parallel": work.parallel,
        "max_tokens": 1024,
        "temperature": 0.0,
    }
    files = {
        "--setting-file": work.save("settings.yaml", yaml.safe_dump(settings)),
        "--endpoint-file": work.save("endpoints.yaml", yaml.safe_dump({work.model: endpoint})),
    }
    flat = [str(part) for file in files.items() for part in file]
    return Command([str(python), str(checkout / "gen_judgment.py"), *flat])


def load_arena_hard(work: Work) -> Said:
    """Yield the verdicts of both games; the first shows the baseline's answer as A."""
    places = _list_places(work.pairs)
    for path in (work.folder / "data/pairs/model_judgment" / work.model).glob("*.jsonl"):
        for row in _load(path):
            for game, sign in zip(row["games"], (-1, 1), strict=True):
                lead = _ARROWS.get((game or {}).get("score") or "")
                winner = None if lead is None else _name_winner(lead * sign)
                yield places[row["model"], row["uid"]], winner


def prepare_inspect(work: Work, python: Path, _checkout: Path | None) -> Command:
    """Ask with the prompts of our own judges; each order is a sample."""
    samples = [{"id": place, "input": prompt} for place, prompt in enumerate(work.prompts)]
    work.save("samples.jsonl", _dump(samples))
    work.save("task.py", _INSPECT_TASK)
    most = str(work.parallel)
    arguments = [
        *(str(python.with_name("inspect")), "eval", "task.py"),
        *("--model", f"openai-api/local/{work.model}", "--max-tokens", "1024"),
        *("--adaptive-connections", f"10-64-{most}", "--max-samples", most),
        *("--display", "none", "--log-format", "json", "--log-dir", "logs"),
    ]
    return Command(arguments, {"LOCAL_API_KEY": _KEY, "LOCAL_BASE_URL": work.api_base})


def load_inspect(work: Work) -> Said:
    """Yield the verdicts; samples of even number show the model's answer first."""
    for path in (work.folder / "logs").glob("*.json"):
        for sample in json.loads(path.read_bytes())["samples"]:
            place, is_second = divmod(int(sample["id"]), 2)
            scores = sample.get("scores") or {}
            slot = (scores.get("verdict") or {}).get("answer")
            lead = {"1": 1, "2": -1, "0": 0}.get(slot or "")
            yield place, None if lead is None else _name_winner(-lead if is_second else lead)


PEERS = (
    Peer(
        "alpaca-eval",
        Dialect.LOG_PROBABILITIES,
        ("alpaca-eval==0.6.6", "setuptools<81"),
        prepare_alpaca_eval,
        load_alpaca_eval,
    ),
    Peer(
        "inspect-ai",
        Dialect.YAML,
        ("inspect-ai==0.3.285", "openai>=3.4"),
        prepare_inspect,
        load_inspect,
    ),
    Peer(
        "fastchat",
        Dialect.LETTERS,
        ("openai<1", "anthropic>=0.3", "shortuuid"),
        prepare_fastchat,
        load_fastchat,
        repository="lm-sys/FastChat",
        borrows=True,
    ),
    Peer(
        "arena-hard-auto",
        Dialect.ARROWS,
        ("openai", "boto3", "numpy", "pandas", "pyyaml", "requests", "shortuuid", "tqdm"),
        prepare_arena_hard,
        load_arena_hard,
        repository="lmarena/arena-hard-auto",
    ),
)


def _name_winner(lead: float) -> Winner:
    if lead == 0:
        return Winner.TIE
    return Winner.MODEL if lead > 0 else Winner.BASELINE


def _list_models(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(pair.model for pair in pairs))


def _list_answers(pairs: Sequence[Pair]) -> dict[str, dict[str, str]]:
    """Return the answers of all models and of the baseline, by model and task."""
    answers: dict[str, dict[str, str]] = {BASELINE: {pair.task: pair.baseline for pair in pairs}}
    for pair in pairs:
        answers.setdefault(pair.model, {})[pair.task] = pair.answer
    return answers


def _list_places(pairs: Sequence[Pair]) -> dict[tuple[str, str], int]:
    return {(pair.model, pair.task): place for place, pair in enumerate(pairs)}


def _dump(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _load(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
