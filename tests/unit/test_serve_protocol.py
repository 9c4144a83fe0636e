"""What a chat request may ask for, and what refusals say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tunebench_jobs.serve.protocol import (
    ApiError,
    Envelope,
    Usage,
    build_event,
    build_models_document,
    parse_chat_request,
)
from tunebench_jobs.serve.request import Sampling

MESSAGES = [{"role": "user", "content": "hi"}]


def make_body(**more: Any) -> bytes:
    """Return a request body."""
    return json.dumps({"model": "tiny", "messages": MESSAGES, **more}).encode()


def refuse(raw: bytes) -> ApiError:
    """Return the error that a request gets."""
    with pytest.raises(ApiError) as error:
        parse_chat_request(raw)
    return error.value


def test_defaults_are_those_of_openai() -> None:
    """Without settings, tokens are drawn at temperature 1, each request with a seed of its own."""
    chat = parse_chat_request(make_body())

    assert chat.asked_tokens is None
    assert chat.build_sampling(max_tokens=7, seed=3) == Sampling(
        max_tokens=7, temperature=1.0, top_p=1.0, seed=3
    )


def test_settings_are_taken() -> None:
    """Each setting reaches the engine; the newer name of the token limit counts."""
    chat = parse_chat_request(
        make_body(
            max_completion_tokens=5, max_tokens=9, temperature=0, top_p=0.5, stop="x", seed=-4
        )
    )

    assert chat.asked_tokens == 5
    assert chat.build_sampling(max_tokens=5, seed=3) == Sampling(
        max_tokens=5, temperature=0.0, top_p=0.5, seed=-4, stop=("x",)
    )


def test_messages_reach_the_template() -> None:
    """Text parts are joined, and the newer name of the system role is known."""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    chat = parse_chat_request(make_body(messages=[{"role": "developer", "content": parts}]))

    assert chat.messages[0].to_template() == {"role": "system", "content": "ab"}


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"user": "me", "metadata": {"a": "b"}, "store": True}, id="no say"),
        pytest.param({"n": 1, "logprobs": False, "tools": [], "logit_bias": {}}, id="neutral"),
        pytest.param({"response_format": {"type": "text"}, "presence_penalty": 0.0}, id="as is"),
        pytest.param({"stop": None, "seed": None, "tools": None}, id="null"),
    ],
)
def test_fields_without_effect_are_ignored(more: dict[str, Any]) -> None:
    """What would change nothing is no reason to refuse."""
    assert parse_chat_request(make_body(**more)) == parse_chat_request(
        make_body(**more | {"user": 1})
    )


@pytest.mark.parametrize(
    ("more", "param", "words"),
    [
        pytest.param({"logprobs": True}, "logprobs", "not supported yet", id="log probabilities"),
        pytest.param({"tools": [{}]}, "tools", "not supported yet", id="tools"),
        pytest.param(
            {"response_format": {"type": "json_object"}},
            "response_format",
            "not supported yet",
            id="JSON mode",
        ),
        pytest.param({"top_k": 5}, "top_k", "not supported yet", id="unknown field"),
        pytest.param({"n": 2}, "n", "must be 1", id="several completions"),
        pytest.param({"temperature": -1}, "temperature", "greater than", id="temperature"),
        pytest.param({"temperature": "hot"}, "temperature", "got 'hot'", id="wrong type"),
        pytest.param({"top_p": 0}, "top_p", "greater than 0", id="top_p"),
        pytest.param({"max_tokens": 0}, "max_tokens", "greater than", id="no tokens"),
        pytest.param({"max_tokens": True}, "max_tokens", "valid integer", id="truth is no number"),
        pytest.param({"stop": [""]}, "stop.0", "at least 1", id="empty stop"),
        pytest.param({"stop": ["x"] * 17}, "stop", "at most 16", id="many stops"),
        pytest.param({"messages": []}, "messages", "at least 1", id="no messages"),
        pytest.param(
            {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "'tool'", id="role"
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content",
            "type `text`",
            id="picture",
        ),
        pytest.param({"model": None}, "model", "valid string", id="no model"),
    ],
)
def test_refusals_name_the_field(more: dict[str, Any], param: str, words: str) -> None:
    """What cannot be done is refused with the field and the reason, never left out silently."""
    error = refuse(make_body(**more))

    assert (error.status, error.param) == (400, param)
    assert words in str(error)
    assert error.build_document()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff", b"null", b"NaN"])
def test_broken_bodies_are_refused(raw: bytes) -> None:
    """A body that is no JSON object gets an error document, not a stack trace."""
    assert "must be" in str(refuse(raw))


def test_documents_have_the_shape_of_openai() -> None:
    """Answers, chunks and events are what clients parse."""
    envelope = Envelope("id1", "tiny", 5)
    answer = envelope.build_completion("text", "stop", Usage(3, 2))

    assert answer["choices"][0]["message"]["content"] == "text"
    assert answer["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert envelope.build_chunk({"content": "é"})["choices"][0]["delta"] == {"content": "é"}
    assert envelope.build_usage_chunk(Usage(3, 2))["choices"] == []
    assert build_event("[DONE]") == "data: [DONE]\n\n"
    assert build_models_document(["a", "b"], 5)["data"][1]["id"] == "b"
