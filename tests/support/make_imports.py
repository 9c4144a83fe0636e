"""Rows as AlpacaEval, Arena-Hard and FastChat write them, with verdicts that follow a rule."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

BASELINE = "gpt4_1106_preview"


def make_annotation(number: int, preference: float | None, **changes: Any) -> dict[str, Any]:
    """Return a row of annotations.json."""
    return {
        "dataset": "koala" if number % 2 else "helpful_base",
        "instruction": f"Question {number}?",
        "output_1": "b" * 100,
        "generator_1": BASELINE,
        "output_2": "m" * (60 + 10 * (number % 9)),
        "generator_2": "acme-7b",
        "annotator": "weighted_alpaca_eval_gpt4_turbo",
        "preference": preference,
        "raw_completion": {"logprobs": {"content": [{"token": "m", "logprob": -0.1}]}},
        "price_per_example": 0.01,
        **changes,
    }


def make_judgment(number: int, labels: Sequence[str | None], **changes: Any) -> dict[str, Any]:
    """Return a row of Arena-Hard, version 2: the baseline is A in the first game."""
    texts = [("base answer", "model answer!"), ("model answer!", "base answer")]
    return {
        "uid": f"q{number}",
        "category": "hard_prompt",
        "judge": "gpt-4.1",
        "model": "acme-7b",
        "baseline": "o3-mini",
        "games": [
            {
                "score": label,
                "judgment": {"answer": f"My final verdict is [[{label}]]"},
                "prompt": [
                    {"role": "system", "content": "Judge."},
                    {"role": "user", "content": make_arena_prompt(*pair)},
                ],
            }
            for label, pair in zip(labels, texts, strict=True)
        ],
        **changes,
    }


def make_old_judgment(number: int, labels: Sequence[str | None]) -> dict[str, Any]:
    """Return a row of Arena-Hard, version 0.1, which names no baseline."""
    return {
        "question_id": f"old{number}",
        "model": "acme-7b",
        "judge": "gpt-4-1106-preview",
        "games": [
            {
                "user_prompt": make_arena_prompt("first", "second one"),
                "judgment": f"[[{label}]]" if label else "$ERROR$",
                "score": label,
            }
            for label in labels
        ],
    }


def make_arena_prompt(first: str, second: str) -> str:
    """Return the judge's prompt of Arena-Hard."""
    sides = [
        f"<|The Start of Assistant {side}'s Answer|>\n{text}\n<|The End of Assistant {side}'s "
        "Answer|>"
        for side, text in (("A", first), ("B", second))
    ]
    return "<|User Prompt|>\nWhy?\n\n" + "\n\n".join(sides)


def make_match(number: int, winners: tuple[str, str], **changes: Any) -> dict[str, Any]:
    """Return a row of FastChat; model_2 is the baseline."""
    prompt = (
        "[User Question]\nWhy?\n\n[The Start of Assistant A's Answer]\n{}\n[The End of Assistant "
        "A's Answer]\n\n[The Start of Assistant B's Answer]\n{}\n[The End of Assistant B's Answer]"
    )
    replies = ["$ERROR$" if winner == "error" else f"said {winner}" for winner in winners]
    return {
        "question_id": number,
        "model_1": "vicuna-13b",
        "model_2": "gpt-3.5-turbo",
        "g1_winner": winners[0],
        "g2_winner": winners[1],
        "judge": ["gpt-4", "pair-v2"],
        "g1_user_prompt": prompt.format("long long answer", "short"),
        "g1_judgment": replies[0],
        "g2_user_prompt": prompt.format("short", "long long answer"),
        "g2_judgment": replies[1],
        "turn": 1,
        "tstamp": 1687222222.5,
        **changes,
    }


def save_array(path: Path, rows: Iterable[Any]) -> Path:
    """Write rows as one JSON array, as AlpacaEval does."""
    path.write_text(json.dumps(list(rows), indent=2))
    return path


def save_lines(path: Path, rows: Iterable[Any]) -> Path:
    """Write rows as JSON lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
