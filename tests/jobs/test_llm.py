"""Models behind LiteLLM are asked over real HTTP, and fail in words that help."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

import httpx
import pytest
from local_http import QuietHandler, serving
from openai import OpenAIError

from tunebench_api.contract import PreflightConfig
from tunebench_api.v1alpha1 import LlmSpec
from tunebench_jobs.errors import InputError, JobError, RetryableError
from tunebench_jobs.llm import Endpoint, NoAnswerError, Reply, ask, ask_once, build_llm_failure
from tunebench_jobs.preflight import (
    check_keys,
    check_prices,
    check_providers,
    check_servers,
    list_asked,
)
from tunebench_jobs.prices import find_prices
from tunebench_jobs.throttle import Limits, Throttle

pytestmark = [
    pytest.mark.jobs,
    # LiteLLM silences this warning of its own in the test that imports it, and in no later one.
    pytest.mark.filterwarnings("ignore:.*ReadOnly. qualifier:UserWarning"),
]

KEY = "sk-very-secret-key"
CHAT = [{"role": "user", "content": "Describe."}]


class FakeVendor(QuietHandler, BaseHTTPRequestHandler):
    """An OpenAI-compatible server that answers with the statuses it is given, then with 200."""

    statuses: ClassVar[list[int]] = []
    seen: ClassVar[list[dict[str, Any]]] = []
    headers_sent: ClassVar[dict[str, str]] = {}
    usage: ClassVar[dict[str, int]] = {}
    drip_seconds: ClassVar[float] = 0.0
    text: ClassVar[str] = "title: x"

    def do_POST(self) -> None:
        """Answer one chat."""
        body = self.read_json()
        self.seen.append({**body, "authorization": self.headers["authorization"]})
        status = self.statuses.pop(0) if self.statuses else 200
        message = {"role": "assistant", "content": self.text}
        choices = [{"index": 0, "message": message, "finish_reason": "length"}]
        usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9, **self.usage}
        good = {"id": "1", "object": "chat.completion", "created": 1, "model": "m"}
        bad = {"error": {"message": f"no, {KEY} will not do", "type": "x", "code": None}}
        answer = {**good, "choices": choices, "usage": usage} if status == 200 else bad
        text = json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**self.headers_sent, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        with suppress(ConnectionError):
            for place in range(len(text)) if self.drip_seconds else ():
                self.wfile.write(text[place : place + 1])
                time.sleep(self.drip_seconds)
            self.wfile.write(b"" if self.drip_seconds else text)


@pytest.fixture
def vendor() -> Iterator[Endpoint]:
    """Start a server and return the endpoint that reaches it."""
    FakeVendor.statuses.clear()
    FakeVendor.seen.clear()
    FakeVendor.headers_sent.clear()
    FakeVendor.usage.clear()
    FakeVendor.drip_seconds = 0.0
    FakeVendor.text = "title: x"
    with serving(FakeVendor) as address:
        base = f"{address}/v1"
        yield Endpoint("openai/big", base, KEY, temperature=0.0, max_tokens=64, extra={"seed": 3})


async def test_reply_has_text_reason_and_tokens(vendor: Endpoint) -> None:
    """The settings reach the server, and the answer comes back with its size."""
    reply = await ask(vendor, CHAT, retries=0)
    seen = FakeVendor.seen[0]

    assert reply == Reply("title: x", None, "length", prompt_tokens=7, completion_tokens=2)
    assert (seen["model"], seen["temperature"], seen["max_tokens"]) == ("big", 0.0, 64)
    assert (seen["seed"], seen["messages"]) == (3, CHAT)
    assert seen["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_busy_server_is_asked_again(vendor: Endpoint, status: int) -> None:
    """A server that is busy or broken for a moment costs a wait, and nothing else."""
    FakeVendor.statuses.extend([status, status])
    reply = await ask(vendor, CHAT, retries=2, first_delay=0.001)

    assert reply.text == "title: x"
    assert len(FakeVendor.seen) == 3


@pytest.mark.parametrize(
    ("status", "failure", "requests"),
    [
        pytest.param(401, (InputError, "AuthenticationFailed"), 1, id="key"),
        pytest.param(403, (InputError, "AuthenticationFailed"), 1, id="permission"),
        pytest.param(404, (InputError, "ModelNotFound"), 1, id="model"),
        pytest.param(400, (InputError, "BadRequest"), 1, id="settings"),
        pytest.param(429, (NoAnswerError, "RateLimited"), 2, id="rate limit"),
        pytest.param(500, (NoAnswerError, "ModelUnavailable"), 2, id="broken"),
    ],
)
async def test_failure_has_a_reason_and_hides_the_key(
    vendor: Endpoint,
    caplog: pytest.LogCaptureFixture,
    status: int,
    failure: tuple[type[JobError], str],
    requests: int,
) -> None:
    """What the user must mend is never asked twice, and no message or log shows the key."""
    FakeVendor.statuses.extend([status] * 9)
    with caplog.at_level(logging.INFO), pytest.raises(JobError) as caught:
        await ask(vendor, CHAT, retries=1, first_delay=0.001)

    assert (type(caught.value), caught.value.reason) == failure
    assert "[redacted] will not do" in str(caught.value)
    assert caught.value.__cause__ is None
    assert KEY not in str(caught.value) + caplog.text
    assert len(FakeVendor.seen) == requests


async def test_absent_server_may_come_back() -> None:
    """A refused connection is retryable."""
    endpoint = Endpoint("openai/big", "http://127.0.0.1:9/v1", "none")

    with pytest.raises(RetryableError, match="gave no answer"):
        await ask(endpoint, CHAT, retries=0)


def make_config(**judge: Any) -> PreflightConfig:
    """Return the config of a run with one LLM judge."""
    return PreflightConfig.from_wire(
        {
            "bases": [],
            "judges": [{"name": "gpt", **judge}],
            "baseline": {"name": "stored", "completions": {"uri": "x.jsonl"}},
            "prompts": {"builtin": "compact"},
            "tools": ["Describe"],
        }
    )


def test_unknown_provider_is_found_in_preflight() -> None:
    """A model id that LiteLLM cannot place is named, with the way to write it."""
    with pytest.raises(InputError, match=r"`spec\.judges\[gpt\]\.model` must be a LiteLLM"):
        check_providers(make_config(model="nonsense/gpt"))


def test_absent_vendor_key_is_found_in_preflight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without secretRef the vendor's own variable must be set."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)

    with pytest.raises(InputError, match="ANTHROPIC_API_KEY must be set"):
        check_providers(make_config(model="anthropic/claude-sonnet-4-20250514"))


def test_a_server_that_is_away_is_found_in_preflight(vendor: Endpoint) -> None:
    """A dead `apiBase` is named with its field; a server that answers anything is there."""
    assert vendor.api_base
    check_servers(make_config(model="openai/mine", apiBase=vendor.api_base))
    config = make_config(model="openai/mine", apiBase="http://127.0.0.1:9/v1")

    with pytest.raises(RetryableError, match=r"`spec\.judges\[gpt\]\.apiBase` must be .*:9/v1"):
        check_servers(config)
    assert not FakeVendor.seen


def test_own_server_needs_no_key() -> None:
    """With apiBase and without secretRef the server is taken as open."""
    config = make_config(model="openai/mine", apiBase="http://localhost:8000/v1")

    check_keys(config, {})
    check_providers(config)

    assert [spec.model for _, spec in list_asked(config)] == ["openai/mine"]


async def test_busy_server_slows_all_who_share_a_throttle(vendor: Endpoint) -> None:
    """One request that is put off lets fewer in flight; one that fails does not."""
    throttle = Throttle(16)
    FakeVendor.statuses.extend([429])
    await ask(vendor, CHAT, retries=1, first_delay=0.001, throttle=throttle)
    shrunk = throttle.limit
    FakeVendor.statuses.extend([500, 503])
    await ask(vendor, CHAT, retries=2, first_delay=0.001, throttle=throttle)

    assert (shrunk, throttle.limit) == (11, 11)


async def test_limits_that_a_server_states_are_heard(vendor: Endpoint) -> None:
    """They come with answers and with refusals, and so does the time to wait."""
    FakeVendor.headers_sent.update(
        {
            "x-ratelimit-limit-requests": "600",
            "x-ratelimit-remaining-requests": "7",
            "x-ratelimit-limit-tokens": "90000",
            "x-ratelimit-remaining-tokens": "80000",
            "retry-after": "3",
            "retry-after-ms": "2500",
        }
    )
    FakeVendor.statuses.extend([200, 429])
    reply = await ask_once(vendor, CHAT)
    with pytest.raises(NoAnswerError) as caught:
        await ask_once(vendor, CHAT)

    assert reply.limits == caught.value.limits == Limits(600, 7, 90_000, 80_000)
    assert (caught.value.busy, caught.value.seconds) == (True, 2.5)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        pytest.param(
            {"Retry-After": "Wed, 21 Oct 2099 07:28:07 GMT"}, 7.0, id="date, and the server's own"
        ),
        pytest.param({"Retry-After": "Wed, 21 Oct 2099 07:27:00 GMT"}, 0.0, id="date that is over"),
        pytest.param({"Retry-After": "Wed, 41 Oct 99999 77:28:00 +9999999999"}, None, id="no date"),
        pytest.param({"Retry-After": "2.5"}, 2.5, id="seconds"),
        pytest.param({"Retry-After": "-3"}, None, id="below zero"),
        pytest.param({"Retry-After": "9", "retry-after-ms": "40"}, 0.04, id="exact"),
        pytest.param({}, None, id="nothing"),
    ],
)
def test_a_server_says_in_several_ways_when_to_come_back(
    headers: dict[str, str], seconds: float | None
) -> None:
    """Seconds, thousandths, or a date, which is compared with the server's own clock."""
    request = httpx.Request("POST", "http://vendor.example/v1")
    clock = {"Date": "Wed, 21 Oct 2099 07:28:00 GMT", **headers}
    error = OpenAIError("slow down")
    error.response = httpx.Response(429, headers=clock, request=request)  # type: ignore[attr-defined]  # as its subclasses have
    failure = build_llm_failure(error, "big", [])

    assert isinstance(failure, NoAnswerError)
    assert failure.seconds == seconds


@pytest.mark.parametrize("tokens", [-5, 10**30], ids=["below zero", "more than there are"])
async def test_a_server_that_cannot_count_says_nothing(vendor: Endpoint, tokens: int) -> None:
    """Such tokens would pay for a budget, or let a pool wait for years."""
    FakeVendor.usage["prompt_tokens"] = tokens
    reply = await ask_once(replace(vendor, model="openai/gpt-4o-2024-08-06"), CHAT)

    assert (reply.prompt_tokens, reply.completion_tokens, reply.cost_usd) == (0, 0, None)
    assert reply.text == "title: x"


async def test_a_reply_that_does_not_end_is_cut(vendor: Endpoint) -> None:
    """A server that forgets `max_tokens` fills no ledger."""
    FakeVendor.text = "x" * 5_000_000
    reply = await ask_once(vendor, CHAT)

    assert (len(reply.text), reply.finish_reason) == (4_000_000, "length")


async def test_a_server_that_drips_is_left(vendor: Endpoint) -> None:
    """Each byte comes in time, and the whole never does."""
    FakeVendor.drip_seconds = 0.05
    with pytest.raises(NoAnswerError, match=r"no whole answer in 0\.5 s"):
        await ask_once(vendor, CHAT, patience_seconds=0.5)


def make_teacher(**changes: Any) -> LlmSpec:
    """Return a teacher whose model LiteLLM knows."""
    return LlmSpec.from_wire(
        {"model": "openai/gpt-4o-2024-11-20", "budgetUSD": "1", "maxTokens": 100, **changes}
    )


def test_prices_are_known_given_or_those_of_one_s_own_server() -> None:
    """A vendor's model has its list price; what nobody knows is free on a server of one's own."""
    known = find_prices(make_teacher(), "spec.dataset.teacher")
    own = make_teacher(model="openai/mine", apiBase="http://localhost:8000/v1")
    free = find_prices(own, "spec.dataset.teacher")

    assert known.cost(1_000_000, 100_000) == pytest.approx(3.5)
    assert free.cost(1_000_000, 100_000) == 0


@pytest.mark.parametrize(
    ("changes", "words", "reason"),
    [
        pytest.param(
            {"model": "openai/mine"}, r"`.*\.prices` must say", "UnknownPrice", id="price"
        ),
        pytest.param(
            {"maxTokens": 20_000},
            r"`.*\.maxTokens` must be at most 16,384",
            "ReplyTooLong",
            id="long",
        ),
    ],
)
def test_teacher_that_cannot_work_is_found_in_preflight(
    changes: dict[str, Any], words: str, reason: str
) -> None:
    """Nobody knows its price, or it gives no replies of that length."""
    maker = {"field": "spec.dataset.teacher", "llm": make_teacher(**changes).to_wire()}
    config = make_config(model="openai/gpt-4o").to_wire()

    with pytest.raises(InputError, match=words) as caught:
        check_prices(PreflightConfig.from_wire({**config, "makers": [maker]}))
    assert caught.value.reason == reason
    check_prices(PreflightConfig.from_wire(config))
