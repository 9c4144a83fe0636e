"""A call without LiteLLM's outer layer is the call that its public function makes."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

import pytest
from local_http import QuietHandler, serving
from openai import OpenAIError

from tunebench_jobs.litellm_calls import call_model, load_litellm, price_reply

pytestmark = [
    pytest.mark.jobs,
    pytest.mark.filterwarnings("ignore:.*ReadOnly. qualifier:UserWarning"),
]

CHAT = [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Which is better?"}]
SETTINGS = {"api_key": "sk-test-key", "temperature": 0.0, "max_tokens": 99}
_OPENAI = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "answer: 1"},
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 1000,
        "completion_tokens": 20,
        "total_tokens": 1020,
        "prompt_tokens_details": {"cached_tokens": 600},
    },
}
_ANTHROPIC = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "claude-3-haiku-20240307",
    "content": [{"type": "text", "text": "answer: 2"}],
    "stop_reason": "max_tokens",
    "usage": {"input_tokens": 1000, "output_tokens": 20},
}
_GEMINI = {
    "candidates": [
        {"content": {"role": "model", "parts": [{"text": "answer: tie"}]}, "finishReason": "STOP"}
    ],
    "usageMetadata": {
        "promptTokenCount": 1000,
        "candidatesTokenCount": 20,
        "totalTokenCount": 1020,
    },
}
# Vendors that are asked in different ways, with what they answer.
VENDORS = {
    "openai/gpt-4o-mini": _OPENAI,
    "openai/one-of-our-own": _OPENAI,
    "hosted_vllm/one-of-our-own": _OPENAI,
    "mistral/mistral-small-latest": _OPENAI,
    "openrouter/openai/gpt-4o-mini": _OPENAI,
    "azure/gpt-4o-mini": _OPENAI,
    "anthropic/claude-3-haiku-20240307": _ANTHROPIC,
    "gemini/gemini-2.0-flash": _GEMINI,
}


class Vendor(QuietHandler, BaseHTTPRequestHandler):
    """Answers `answer`, or `status`, and keeps what it was asked."""

    answer: ClassVar[dict[str, Any]] = {}
    status: ClassVar[int] = 200
    seen: ClassVar[list[tuple[str, Any, dict[str, str | None]]]] = []

    def do_POST(self) -> None:
        """Answer one request."""
        names = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "content-type")
        asked = self.read_json()
        self.seen.append((self.path, asked, {each: self.headers[each] for each in names}))
        refused = {"error": {"message": "slow down", "type": "x", "code": None}}
        answer = {"model": asked.get("model"), **self.answer} if self.status == 200 else refused
        headers = {"x-ratelimit-limit-requests": "50", "retry-after": "7"}
        self.send_json(answer, self.status, headers)


@pytest.fixture
def server() -> Iterator[str]:
    """Serve and return the address."""
    Vendor.seen.clear()
    Vendor.status = 200
    with serving(Vendor) as url:
        yield url


async def ask_public(model: str, base: str) -> Any:
    """Ask by the function that LiteLLM offers."""
    return await load_litellm().acompletion(
        model=model,
        messages=[dict(each) for each in CHAT],
        timeout=30.0,
        num_retries=0,
        max_retries=0,
        api_base=base,
        **SETTINGS,
    )


async def ask_inner(model: str, base: str) -> Any:
    """Ask as judges are asked."""
    chat = [dict(each) for each in CHAT]
    return await call_model(model, chat, 30.0, {"api_base": base, **SETTINGS})


def summarize(raw: Any) -> dict[str, Any]:
    """Return what is read of a reply."""
    hidden = raw._hidden_params
    headers = hidden.get("additional_headers") or {}
    return {
        "text": raw.choices[0].message.content,
        "finish": raw.choices[0].finish_reason,
        "prompt": raw.usage.prompt_tokens,
        "completion": raw.usage.completion_tokens,
        "limit": headers.get("x-ratelimit-limit-requests"),
    }


@pytest.mark.parametrize("model", list(VENDORS))
async def test_request_reply_and_price_are_the_same(model: str, server: str) -> None:
    """What goes over the wire, what is made of the answer, and what it is said to cost."""
    Vendor.answer = VENDORS[model]
    base = f"{server}/v1"

    public, inner = await ask_public(model, base), await ask_inner(model, base)

    asked_public, asked_inner = Vendor.seen
    assert asked_inner == asked_public
    assert summarize(inner) == summarize(public)
    assert summarize(inner)["text"].startswith("answer: ")
    assert price_reply(inner, model) == (public._hidden_params["response_cost"] or None)


@pytest.mark.parametrize("model", list(VENDORS))
@pytest.mark.parametrize("status", [400, 401, 429, 503])
async def test_failures_are_the_same(model: str, status: int, server: str) -> None:
    """A refusal has the same type and status, and tells the same wait."""
    Vendor.answer, Vendor.status = VENDORS[model], status
    failures = []
    for ask in (ask_public, ask_inner):
        with pytest.raises(OpenAIError) as caught:
            await ask(model, f"{server}/v1")
        failures.append(caught.value)

    public, inner = failures
    assert type(inner) is type(public)
    assert inner.status_code == public.status_code
    assert str(inner) == str(public)
    for name in ("response", "litellm_response_headers"):
        ours, theirs = (getattr(getattr(each, name, None), "headers", None) for each in failures)
        assert dict(ours or {}).get("retry-after") == dict(theirs or {}).get("retry-after")
