"""Training examples for tests of the loss."""

from __future__ import annotations

from tiny_models import build_tiny_tokenizer

from tunebench_jobs.chat import Example, build_example


def make_train_examples() -> list[Example]:
    """Return examples of different lengths, prompts and answers; the tokenizer is the tiny one."""
    tokenizer = build_tiny_tokenizer()
    return [
        build_example(
            tokenizer,
            system="Describe the pull request.",
            user="def add(a, b):\n" * repeats + "```yaml",
            answer="title: |\n" + "  Add retries to the client\n" * answers,
        )
        for repeats, answers in ((1, 3), (4, 1), (9, 2), (2, 6))
    ]
