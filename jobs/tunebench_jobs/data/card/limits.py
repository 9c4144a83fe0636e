"""What a dataset cannot show, as far as its facts tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from tunebench_jobs.data.card.sections import CardFacts
from tunebench_jobs.markdown import show

# From here on, one value of a column is worth a word.
_LARGE_SHARE = 0.2
_ALWAYS = (
    "Only pull requests that were merged are here: nothing shows what was turned down.",
    "Names, logins and addresses in what people wrote were not taken out.",
    "Licences are those of whole repositories; a file of a pull request may have another.",
    "What models were pre-trained on was not compared with the test split.",
)


def build_limits(facts: CardFacts) -> str:
    """Say what to keep in mind."""
    lines = [
        *_list_skews(facts),
        *_list_answers(facts.manifest),
        *_list_unchecked(facts.manifest),
        *_ALWAYS,
        *(show(str(warning)) for warning in facts.manifest.get("warnings", ())),
    ]
    listed = "\n".join(f"* {line}" for line in lines)
    return f"## Limits and known biases\n\n{listed}"


def is_searched_for_secrets(manifest: Mapping[str, Any]) -> bool:
    """Whether pull requests that hold keys or passwords were looked for."""
    cleaning = manifest.get("dataset", {}).get("cleaning")
    return cleaning is not None and "Secrets" not in cleaning.get("skip", ())


def _list_skews(facts: CardFacts) -> Iterator[str]:
    for name in ("repositories", "languages", "licenses"):
        counts: Counter[str] = getattr(facts.train, name)
        if not counts:
            continue
        top, count = min(counts.items(), key=lambda each: (-each[1], each[0]))
        if count / counts.total() >= _LARGE_SHARE:
            what = {"repositories": "come from", "languages": "are in", "licenses": "are under"}
            shown = show(top) or "one that is not known"
            yield f"{count / counts.total():.0%} of the training split {what[name]} {shown}."


def _list_answers(manifest: Mapping[str, Any]) -> Iterator[str]:
    kind = manifest.get("answers")
    if kind == "Human":
        yield (
            "People wrote titles and descriptions for those who knew the context: they may say "
            "what the diff does not show, and leave out what it does."
        )
    elif kind == "Teacher":
        yield (
            "A language model wrote answers: its mistakes and its style are learned with them, and "
            "judges of its family may prefer that style."
        )
    dataset = manifest.get("dataset", {})
    if dataset.get("eval", {}).get("holdout"):
        yield "The test split holds the newest pull requests, so it is not a sample of the whole."


def _list_unchecked(manifest: Mapping[str, Any]) -> Iterator[str]:
    dataset = manifest.get("dataset")
    if dataset is None:
        return
    if dataset.get("licenses", "Any") == "Any":
        yield "Licences were not checked."
    if not is_searched_for_secrets(manifest):
        yield "Keys and passwords were not looked for: there may be some."
    else:
        yield "Keys and passwords were looked for by their patterns; some may have been missed."
    if dataset.get("cleaning") is None:
        yield "Nothing was cleaned: bots, reverts, generated files and duplicates are there."
