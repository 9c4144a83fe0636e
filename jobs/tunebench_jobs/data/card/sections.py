"""The parts of a card, as Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from tunebench_api.contamination import SUMMARY_KEY, Contamination
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.data.card.counts import MEASURES, SetFacts
from tunebench_jobs.data.layout import EVAL_ROWS_FILE, TRAIN_FILE
from tunebench_jobs.markdown import build_code, build_table, show

# Of a table whose length the data decides.
_MOST_ROWS = 20
_MOST_ITEMS = 5
_NOT_KNOWN = "*not known*"

_WHAT_IT_IS = (
    "Merged pull requests with their diffs, and good answers of {tools}: to fine-tune language "
    "models on (train), and to evaluate them with (test)."
)
_WHAT_A_ROW_IS = (
    "A row is one pull request: `files` are the changed files with git's unified diff "
    "(`patch`), `answers` the good answers by tool as YAML texts, `answered_by` who wrote "
    "them."
)
_ABOUT_LICENCES = (
    "SPDX expressions of the repositories, as the sources state them. Each pull request stays"
    " under the licence of its repository."
)
_ABOUT_STEPS = (
    "Each step with what it took in, gave out and left out, by reason. `train` and `eval` are"
    " the sources' names: with a hold-out, the evaluation comes out of `train`."
)
_ABOUT_SPEC = (
    "With the same sources, these lines of a run file make the same files; paths are names "
    "only, and keys and servers are left out."
)


@dataclass(frozen=True)
class CardFacts:
    """All that a card tells."""

    # Of the build, without what is private.
    manifest: Mapping[str, Any]
    train: SetFacts
    test: SetFacts
    # Bytes by name.
    sizes: Mapping[str, int]


def build_overview(facts: CardFacts) -> str:
    """Say what the dataset is, and how it is read."""
    sets = [("train", TRAIN_FILE, facts.train), ("test", EVAL_ROWS_FILE, facts.test)]
    rows: list[Sequence[str | int]] = [
        (
            name,
            f"`{file}`",
            counts.rows,
            len(counts.repositories),
            *(len(lengths) for lengths in counts.answers.values()),
            f"{counts.first} to {counts.last}" if counts.first else _NOT_KNOWN,
        )
        for name, file, counts in sets
    ]
    head = ("split", "file", "pull requests", "repositories", *facts.train.answers, "merged")
    code = 'from datasets import load_dataset\n\ndataset = load_dataset("FOLDER_OR_NAME")'
    return "\n\n".join(
        [
            "# Pull requests with answers",
            _WHAT_IT_IS.format(tools=_name_tools(facts.manifest.get("tools") or list(Tool))),
            build_table(head, rows),
            build_code(code, "python"),
            _WHAT_A_ROW_IS,
        ]
    )


def _name_tools(tools: Sequence[str]) -> str:
    *others, last = map(str, tools)
    return f"the tools {', '.join(others)} and {last}" if others else f"the tool {last}"


def build_contents(facts: CardFacts) -> str:
    """Show licences, languages and repositories."""
    train, test = facts.train, facts.test
    most = facts.train.repositories + facts.test.repositories
    share = max(most.values(), default=0) / max(1, most.total())
    return "\n\n".join(
        [
            "## Licences",
            _ABOUT_LICENCES,
            _count_table("licence", train.licenses, test.licenses),
            "## Programming languages",
            "The main language of each pull request.",
            _count_table("language", train.languages, test.languages),
            "## Repositories",
            (
                f"{len(most):,} in all; the largest has {share:.1%} of the pull requests, and "
                f"{len(train.repositories.keys() & test.repositories.keys()):,} are in both splits."
            ),
            _count_table("repository", train.repositories, test.repositories),
        ]
    )


def build_lengths(facts: CardFacts, image: str) -> str:
    """Show how long pull requests and answers are."""
    rows: list[Sequence[str | int]] = [
        (f"{name}, {split}", *_find_quantiles(values))
        for split, counts in (("train", facts.train), ("test", facts.test))
        for name, values in [
            *((measure, counts.sizes[measure]) for measure in MEASURES),
            *((f"characters of {tool}", lengths) for tool, lengths in counts.answers.items()),
        ]
        if values
    ]
    return "\n\n".join(
        [
            "## Lengths",
            f"![Histograms of changed lines and of characters of diffs and answers]({image})",
            build_table(("of one pull request", "10%", "median", "90%", "longest"), rows),
        ]
    )


def build_funnel(facts: CardFacts) -> str:
    """Show what each step took in and left out."""
    rows = [
        (
            show(str(step["step"])),
            show(str(step["set"])),
            show(str(step["unit"])),
            int(step["in"]),
            int(step["out"]),
            _describe_dropped(step),
        )
        for step in facts.manifest.get("steps", ())
    ]
    return "\n\n".join(
        [
            "## Cleaning",
            _ABOUT_STEPS,
            build_table(("step", "set", "of", "in", "out", "left out"), rows),
            "## Kept apart",
            _describe_gate(facts.manifest),
        ]
    )


def build_answers(facts: CardFacts) -> str:
    """Say who wrote the answers."""
    authors = {
        (tool, author): (facts.train.authors[tool, author], facts.test.authors[tool, author])
        for tool, author in {**facts.train.authors, **facts.test.authors}
    }
    rows = [
        (show(tool), show(author) or _NOT_KNOWN, *counts)
        for (tool, author), counts in sorted(authors.items())
    ]
    return "\n\n".join(
        [
            "## Who wrote the answers",
            _describe_teacher(facts.manifest),
            build_table(("tool", "by", "train", "test"), rows[: 3 * _MOST_ROWS]),
        ]
    )


def build_provenance(facts: CardFacts) -> str:
    """Show files, sources and how to make the same again."""
    manifest = facts.manifest
    files = [
        (f"`{name}`", facts.sizes[name], f"`{manifest['files'].get(name, '')}`")
        for name in (TRAIN_FILE, EVAL_ROWS_FILE)
    ]
    sources = [
        f"* {show(str(source.get('set', '')))}: {'; '.join(_list_facts(source))}"
        for source in manifest.get("sources", ())
    ]
    return "\n\n".join(
        [
            "## Files",
            build_table(("file", "bytes", "SHA-256"), files),
            "## Sources",
            "\n".join(sources) or "None are named.",
            "## How to make it again",
            _ABOUT_SPEC,
            build_code(_build_spec(manifest), "yaml"),
            build_code("tunebench dataset build run.yaml --out dataset", "console"),
        ]
    )


def _build_spec(manifest: Mapping[str, Any]) -> str:
    prompts = manifest.get("prompts", {})
    spec = {
        "tools": manifest.get("tools"),
        "dataset": manifest.get("dataset"),
        "seed": manifest.get("seed"),
    }
    given = {name: value for name, value in spec.items() if value is not None}
    text = yaml.safe_dump({"spec": given}, sort_keys=False, allow_unicode=False, width=96)
    note = f"# Prompts: {prompts['name']!a}, SHA-256 {prompts['sha256']}\n" if prompts else ""
    return f"{note}{text}"


def _count_table(name: str, train: Counter[str], test: Counter[str]) -> str:
    total = train + test
    ranked = sorted(total, key=lambda each: (-total[each], each))
    rows = [(show(each) or _NOT_KNOWN, train[each], test[each]) for each in ranked[:_MOST_ROWS]]
    if rest := ranked[_MOST_ROWS:]:
        left = [sum(counts[each] for each in rest) for counts in (train, test)]
        rows.append((f"*{len(rest):,} others*", left[0], left[1]))
    return build_table((name, "train", "test"), rows)


def _find_quantiles(values: Sequence[int]) -> list[int]:
    """Return values that occur, so that a median is whole."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return [ordered[round(last * share)] for share in (0.1, 0.5, 0.9, 1)]


def _describe_dropped(step: Mapping[str, Any]) -> str:
    moved = [f"{step['moved']:,} to the other set"] if step.get("moved") else []
    reasons = [f"{show(str(reason))} {count:,}" for reason, count in step["dropped"].items()]
    return ", ".join([*moved, *reasons])


def _describe_gate(manifest: Mapping[str, Any]) -> str:
    if SUMMARY_KEY not in manifest:
        return "Nobody compared the splits."
    return f"{_show_sentence(Contamination.model_validate(manifest[SUMMARY_KEY]).describe())}."


def _show_sentence(text: str) -> str:
    """Return a long text of ours, in which names may be strangers'."""
    return " ".join(show(word) for word in text.split())


def _describe_teacher(manifest: Mapping[str, Any]) -> str:
    dataset = manifest.get("dataset", {})
    makers = manifest.get("makers", {})
    teacher = makers.get("teacher") or dataset.get("teacher") or {}
    family = dataset.get("teacherFamily") or teacher.get("family")
    kind = str(manifest.get("answers", "Rows"))
    said = {
        "Human": "The title and the description that people wrote are the answers to Describe.",
        "Teacher": "A teacher, a language model, wrote the answers that rows lacked: "
        f"{show(str(teacher.get('model', 'one that is not named')))}.",
    }.get(kind, "The answers came with the rows.")
    vendor = f" Family of the model that wrote them: {show(str(family))}." if family else ""
    judge = makers.get("quality") or dataset.get("cleaning", {}).get("quality")
    scored = f" {show(str(judge.get('model')))} scored them." if judge else ""
    return f"{said}{vendor}{scored}"


def _list_facts(source: Mapping[str, Any]) -> Iterator[str]:
    for name, value in source.items():
        if name == "set":
            continue
        if isinstance(value, Mapping):
            text = ", ".join(f"{key} {each}" for key, each in list(value.items())[:_MOST_ROWS])
        elif isinstance(value, list):
            more = f" and {len(value) - _MOST_ITEMS:,} more" if len(value) > _MOST_ITEMS else ""
            text = f"{', '.join(map(_name_item, value[:_MOST_ITEMS]))}{more}"
        else:
            text = str(value)
        yield f"{show(name.replace('_', ' '))} {_show_sentence(text)}"


def _name_item(item: Any) -> str:
    """Name one of many, such as a repository of a list."""
    if not isinstance(item, Mapping):
        return str(item)
    named = [item[key] for key in ("repository", "uri", "path", "name", "commit") if key in item]
    return "@".join(map(str, named)) or str(dict(item))
