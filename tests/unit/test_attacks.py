"""What attacks on judges may achieve: nothing in the parser, no part of a prompt, no lost text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from attack_set import (
    LAST_WORD,
    QUOTING,
    SLOPPY,
    Way,
    load_attacks,
    try_parser,
)
from hypothesis import given
from hypothesis import strategies as st
from make_sample_data import DATA, SPLITS

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.load import load_rows
from tunebench_jobs.diffs import Options2024
from tunebench_jobs.judge.comparisons import find_prompt_delimiters
from tunebench_jobs.judge.escape import Delimiters, escape_untrusted
from tunebench_jobs.judge.verdicts import UnparsableVerdictError, parse_verdict
from tunebench_jobs.prompts import (
    PromptSet,
    PromptTemplate,
    build_variables,
    builtin_prompts_dir,
    load_prompt_set,
)

VARIABLES = frozenset({"pr_task", "pr_response1", "pr_response2"})
BUILTIN = [load_prompt_set(builtin_prompts_dir() / name) for name in ("default", "compact")]


def make_prompts(name: str, place: str) -> PromptSet:
    """Return a user's prompt set that surrounds each part in its own way."""
    parts = "\n\n".join(place.replace("NAME", each).replace("N", each[-1]) for each in VARIABLES)
    template = PromptTemplate(
        "pr_evaluate_prompt", "prompt", "evaluate.toml", f"Judge.\n\n{parts}\n\nYAML:\n", VARIABLES
    )
    return PromptSet(name, "0", None, Options2024(), (template,))


PROMPTS = [
    *BUILTIN,
    make_prompts("PR-Agent", "***** Start of N *****\n{{ NAME }}\n***** End of N *****"),
    make_prompts("tags", "<answerN>\n{{ NAME }}\n</answerN>"),
    make_prompts("tags in line", "<answerN>{{ NAME }}</answerN>"),
    make_prompts("fences", "Answer N:\n```\n{{ NAME }}\n```"),
    make_prompts("quotation marks", 'Answer N: """\n{{ NAME }}\n"""'),
    make_prompts("rules", "-----\n{{ NAME }}\n-----"),
    make_prompts("words in line", "Answer N: {{ NAME }}"),
]
each_prompt_set = pytest.mark.parametrize("prompts", PROMPTS, ids=lambda each: each.name)


def test_the_set_is_large_and_varied() -> None:
    """Shares by kind mean something."""
    attacks = load_attacks()
    kinds = Counter(each.kind for each in attacks)

    assert len(attacks) >= 200
    assert len({each.id for each in attacks}) == len(attacks)
    assert len(kinds) >= 15
    assert min(kinds.values()) >= 8
    assert {each.where for each in attacks} == {"completion", "diff", "reply"}


def list_outcomes(ways: Mapping[str, Way], *, escaped: bool) -> Counter[str]:
    """Count what the parser made of every attack in some ways."""
    trials = try_parser(load_attacks(), ways, find_prompt_delimiters(BUILTIN[0]))
    return Counter(trial.outcome for trial in trials if trial.escaped is escaped)


def test_a_judge_that_copies_what_it_read_is_read_right() -> None:
    """However it quotes an attack, and even as its last word: the escape is part of it."""
    assert list_outcomes(QUOTING | SLOPPY | LAST_WORD, escaped=True).keys() == {"right"}


@pytest.mark.parametrize("ways", [pytest.param({name: QUOTING[name]}, id=name) for name in QUOTING])
def test_no_quotation_becomes_the_verdict(ways: Mapping[str, Way]) -> None:
    """A judge may undo the escape; quoted, no attack changes a verdict, and hardly one hides it."""
    outcomes = list_outcomes(ways, escaped=False)

    assert outcomes["changed"] == 0
    assert outcomes["unreadable"] <= 0.02 * outcomes.total()


@pytest.mark.parametrize("ways", [pytest.param({name: SLOPPY[name]}, id=name) for name in SLOPPY])
def test_what_is_quoted_badly_is_asked_again(ways: Mapping[str, Way]) -> None:
    """Nor does one change a verdict where nobody can tell what is quoted."""
    outcomes = list_outcomes(ways, escaped=False)

    assert outcomes["changed"] == 0
    assert outcomes["right"] > 0.6 * outcomes.total()


@each_prompt_set
def test_no_attack_is_a_part_of_the_prompt_or_a_verdict(prompts: PromptSet) -> None:
    """After the escape no line of it is a delimiter, and neither line nor text has a verdict."""
    delimiters = find_prompt_delimiters(prompts)
    for attack in load_attacks():
        text = escape_untrusted(attack.aim(1), delimiters)
        lines = {line.strip() for line in text.splitlines()}

        assert not lines & delimiters.lines, attack.id
        assert not any(line.startswith(piece) for line in lines for piece in delimiters.pieces), (
            attack.id
        )
        for part in {text, *lines}:
            with pytest.raises(UnparsableVerdictError):
                parse_verdict(part, model_is_first=True)


def escape_as_at_first(text: str, delimiters: Delimiters) -> str:
    """Escape as the first version did; what it sent is what ledgers are keyed by."""
    lines = []
    for line in text.splitlines(keepends=True):
        stripped = line.strip()
        if stripped and stripped in delimiters.lines:
            lines.append(line.replace(stripped, "\\" + stripped, 1))
        else:
            marker = r"(?<![*=#<-])(?=[*=#<-]{3,}\s*(?:start|begin|end|answer|response|task)\b)"
            lines.append(re.sub(marker, r"\\", line, flags=re.IGNORECASE))
    return re.sub("(which|score)(_response)", r"\1\\\2", "".join(lines), flags=re.IGNORECASE)


@pytest.mark.parametrize("prompts", BUILTIN, ids=lambda each: each.name)
def test_what_is_harmless_is_sent_as_before(prompts: PromptSet) -> None:
    """Every sample task and answer reads the same, so that what was paid for stays found."""
    delimiters = find_prompt_delimiters(prompts)
    texts = []
    for name in SPLITS.values():
        for row in load_rows(Path(DATA / name), "uri"):
            texts += filter(None, row.pr.answers.values())
            for tool in Tool:
                messages = prompts.render(tool, build_variables(row.pr, tool, prompts, {}))
                texts.append(f"{messages.system}\n\n{messages.user}")

    assert len(texts) > 200
    for text in texts:
        assert escape_untrusted(text, delimiters) == escape_as_at_first(text, delimiters)


HARMLESS = [
    *("Task:", "task:", "end", "***", "---", "<s>", "a[inst]", "```", "x <| f |> y", "=###", "#"),
    *(
        "\u043a\u043e\u043d\u0435\u0446",
        "a\u200db",
        "\ufeffx",
        "response",
        "which",
        "score",
        "_",
        " ",
    ),
    *("\n", "\r\n", "\t"),
]
LETTERS = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")))


@given(st.lists(st.sampled_from(HARMLESS) | LETTERS))
def test_ordinary_text_is_sent_as_before(parts: list[str]) -> None:
    """Words, code and other alphabets pass unchanged, but for what the first version escaped."""
    delimiters = find_prompt_delimiters(BUILTIN[1])
    text = "".join(parts)

    assert escape_untrusted(text, delimiters) == escape_as_at_first(text, delimiters)


@given(st.text(max_size=400))
def test_the_escape_only_adds(text: str) -> None:
    """What stays stands in its order, and nothing comes but backslashes and what spells out."""
    escaped = escape_untrusted(text, find_prompt_delimiters(BUILTIN[0]))
    rest = iter(escaped)

    assert all(each in rest for each in text if each in escaped)
    assert set(escaped) <= {*text, *"\\xuU0123456789abcdef"}
