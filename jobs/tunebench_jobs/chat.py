"""From chat messages to token ids, in one place for training and serving.

The prompt that a served model sees is the prompt it was trained on, token by token: both sides call
`build_prompt_ids`, and training appends the answer's own tokens to it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from tunebench_jobs.errors import InputError

IGNORED_LABEL = -100

# Prompts end with an open ```yaml fence, so an answer is YAML text and this.
ANSWER_END = "\n```"

# For base models without a template; documented in the manual, saved with every checkpoint.
DEFAULT_CHAT_TEMPLATE = """\
{%- for message in messages -%}
{{- '### ' + message['role'] | capitalize + ':\n' + message['content'] -}}
{{- eos_token if message['role'] == 'assistant' else '' -}}
{{- '\n\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '### Assistant:\n' -}}{%- endif -%}
"""

_REFUSED = "ChatTemplateRefused"
_PROBE = "tunebench-probe"
# A template is a stranger's program: it may divide by nothing or call itself without end.
_TEMPLATE_ERRORS = (
    TemplateError,
    TypeError,
    ValueError,
    AttributeError,
    LookupError,
    ArithmeticError,
    RecursionError,
)


@dataclass(frozen=True)
class Example:
    """A prompt with its answer; labels are `IGNORED_LABEL` wherever nothing is to be learnt."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def answer_tokens(self) -> int:
        """Count the tokens that are learnt: the answer and its end."""
        return len(self.labels) - self.labels.count(IGNORED_LABEL)


def ensure_chat_template(tokenizer: Any) -> None:
    """Give a tokenizer without a chat template the default one."""
    if tokenizer.chat_template is not None:
        return
    # The template adds what the tokenizer would add in front of plain text.
    starts_with_bos = tokenizer.bos_token_id is not None and tokenizer(_PROBE)["input_ids"][:1] == [
        tokenizer.bos_token_id
    ]
    tokenizer.chat_template = ("{{- bos_token -}}\n" if starts_with_bos else "") + (
        DEFAULT_CHAT_TEMPLATE
    )


def build_prompt_ids(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> list[int]:
    """Return the tokens of a conversation up to where the model is to answer.

    Special tokens that occur inside the messages, for instance in a diff, become plain text. Where
    the template has no place for a system message, it goes in front of the first user message.

    Raises:
        InputError: The chat template does not take these messages.
    """
    ids: list[int] = tokenizer(_build_prompt_text(tokenizer, messages), add_special_tokens=False)[
        "input_ids"
    ]
    return ids


def build_answer_text(answer: str) -> str:
    """Return what a model is to write for an answer: its YAML and the closing fence."""
    return answer.strip("\r\n").rstrip() + ANSWER_END


def build_example(tokenizer: Any, *, system: str, user: str, answer: str) -> Example:
    """Build a training example that learns the answer and its end token only.

    Raises:
        InputError: The answer is empty, or the chat template does not take these messages.
    """
    texts = build_example_texts(tokenizer, system=system, user=user, answer=answer)
    return build_examples(tokenizer, [texts], end=find_end_token(tokenizer))[0]


def build_example_texts(tokenizer: Any, *, system: str, user: str, answer: str) -> tuple[str, str]:
    """Return prompt and answer of a training example as the tokenizer gets them.

    Raises:
        InputError: The answer is empty, or the chat template does not take these messages.
    """
    if not answer.strip():
        msg = "`answer` must not be empty; leave the row out"
        raise InputError(msg, reason="EmptyAnswer")
    prompt = _build_prompt_text(tokenizer, build_messages(system=system, user=user))
    return prompt, build_plain_text(tokenizer, build_answer_text(answer))


def build_examples(tokenizer: Any, texts: Sequence[tuple[str, str]], *, end: int) -> list[Example]:
    """Turn prompts and answers into examples; the tokenizer may take all of them at once.

    Args:
        tokenizer: The model's.
        texts: What `build_example_texts` returned.
        end: What `find_end_token` returned.
    """
    flat = [text for pair in texts for text in pair]
    ids: list[list[int]] = tokenizer(flat, add_special_tokens=False)["input_ids"]
    return [
        Example(
            input_ids=(*prompt, *answer, end),
            labels=(*([IGNORED_LABEL] * len(prompt)), *answer, end),
        )
        for prompt, answer in zip(ids[::2], ids[1::2], strict=True)
    ]


def build_messages(*, system: str, user: str) -> list[dict[str, str]]:
    """Return the conversation of a task, without an empty system message."""
    messages = [{"role": "system", "content": system}] if system else []
    return [*messages, {"role": "user", "content": user}]


def build_plain_text(tokenizer: Any, text: str) -> str:
    """Return a text in which no special token of the tokenizer is left, by a blank in each."""
    marks = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
    marks = sorted({mark for mark in (*marks, *tokenizer.all_special_tokens) if len(mark) > 1})
    if not any(mark in text for mark in marks):
        return text
    pattern = "|".join(re.escape(mark) for mark in sorted(marks, key=len, reverse=True))
    return re.sub(pattern, lambda match: f"{match[0][0]} {match[0][1:]}", text)


def find_end_token(tokenizer: Any) -> int:
    """Return the token that ends an assistant's turn: the template's own, or the end of text."""
    messages = [{"role": "user", "content": _PROBE}]
    prompt = _render(tokenizer, messages, generate=True)
    whole = _render(
        tokenizer, [*messages, {"role": "assistant", "content": _PROBE}], generate=False
    )
    after = whole.removeprefix(prompt)
    tail = after[after.rindex(_PROBE) + len(_PROBE) :] if _PROBE in after else ""
    special = set(tokenizer.all_special_ids) | {
        index for index, token in tokenizer.added_tokens_decoder.items() if token.special
    }
    ids: list[int] = tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
    end: int = next((index for index in ids if index in special), tokenizer.eos_token_id)
    return end


def find_end_tokens(tokenizer: Any) -> tuple[int, ...]:
    """Return the tokens at which a served model stops: the end of the turn, and of the text."""
    return tuple(dict.fromkeys((find_end_token(tokenizer), int(tokenizer.eos_token_id))))


def check_template(tokenizer: Any) -> None:
    """Check that the template puts answers where its own generation prompt ends.

    Raises:
        InputError: The template does not take a user's message.
    """
    _build_prompt_text(tokenizer, build_messages(system=_PROBE, user=_PROBE))


def _build_prompt_text(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    plain = [
        {**message, "content": build_plain_text(tokenizer, message["content"])}
        for message in messages
    ]
    try:
        text = _render(tokenizer, plain, generate=True)
    except InputError:
        if plain[0]["role"] != "system":
            raise
        return _render_whole(tokenizer, _fold_system(plain))
    # Some templates drop a system message without a word.
    if plain and plain[0]["role"] == "system" and plain[0]["content"].strip() not in text:
        return _render_whole(tokenizer, _fold_system(plain))
    return _check_whole(text, plain)


def _render_whole(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    return _check_whole(_render(tokenizer, messages, generate=True), messages)


def _check_whole(text: str, messages: Sequence[Mapping[str, str]]) -> str:
    """Return a rendered prompt that has what users say in it.

    Templates for images as well expect lists of parts, and write nothing for plain text.

    Raises:
        InputError: A user's message is not there, or not whole: the model would answer blindly.
    """
    users = [message["content"].strip() for message in messages if message["role"] == "user"]
    if all(content in text for content in users):
        return text
    msg = (
        "the model's chat template must write user messages as they are, but drops or changes "
        "them; give the base model's folder a `chat_template` that takes plain text"
    )
    raise InputError(msg, reason=_REFUSED)


def _fold_system(messages: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    system, *others = messages
    if not others or others[0]["role"] != "user":
        msg = "a system message must be followed by a user's message for this chat template"
        raise InputError(msg, reason=_REFUSED)
    content = f"{system['content']}\n\n{others[0]['content']}"
    return [{**others[0], "content": content}, *others[1:]]


def _render(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, generate: bool) -> str:
    try:
        text: str = tokenizer.apply_chat_template(
            list(messages), tokenize=False, add_generation_prompt=generate
        )
    except _TEMPLATE_ERRORS as error:
        msg = f"the model's chat template does not take these messages: {error}"
        raise InputError(msg, reason=_REFUSED) from error
    return text
