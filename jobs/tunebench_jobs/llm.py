"""Ask a model behind LiteLLM, with retries, and say plainly what went wrong.

Judges, the baseline and those who make training answers share this door. A key is passed on and
never shown: it is cut out of every message, and foreign exceptions are not chained, because their
text and frames may hold it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from tunebench_api.v1alpha1 import (
    REFERENCE_JUDGE,
    BaselineSpec,
    JudgeSpec,
    LlmSpec,
    SecretRef,
)
from tunebench_jobs.errors import InputError, JobError, RetryableError
from tunebench_jobs.litellm_calls import call_model, load_litellm, price_reply
from tunebench_jobs.throttle import LONGEST_PAUSE_SECONDS, Limits, Throttle, Ticket

logger = logging.getLogger(__name__)

# What servers of one's own expect when they check no key; the client library insists on one.
NO_KEY = "none"
FIRST_DELAY_SECONDS = 1.0
MAX_DELAY_SECONDS = LONGEST_PAUSE_SECONDS
TIMEOUT_SECONDS = 300.0
# A server that says so has too much to do; one that is broken says nothing of its limits.
_BUSY_STATUSES = frozenset({429, 529})
_UNLIMITED = 1_000_000
# Longer than any reply that a run may ask for; some servers forget `max_tokens`.
_MOST_CHARACTERS = 4_000_000
# No model reads or writes more at once; a server that says so has counted wrong.
_MOST_TOKENS = 100_000_000
_MAX_MESSAGE = 600
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,9})?")
_MIN_SECRET = 8
_SECRET_NAME = re.compile(r"_(API_KEY|KEY|TOKEN|SECRET|PASSWORD)$|^AWS_SECRET")


class _Refusal(NamedTuple):
    """What the user has to do."""

    reason: str
    remedy: str


_KEY_REFUSED = _Refusal("AuthenticationFailed", "check the API key and what it may use")
_BAD_REQUEST = _Refusal("BadRequest", "check the model id and its settings")
# By the name of LiteLLM's exception; a subclass stands before its parent.
_REFUSALS: Mapping[str, _Refusal] = {
    "AuthenticationError": _KEY_REFUSED,
    "PermissionDeniedError": _KEY_REFUSED,
    "NotFoundError": _Refusal("ModelNotFound", "check the model id and `apiBase`"),
    "ContextWindowExceededError": _Refusal(
        "ContextWindowExceeded", "use a model with a longer context"
    ),
    "ContentPolicyViolationError": _Refusal("ContentRefused", "leave the pull request out"),
    "PaymentRequiredError": _Refusal("PaymentRequired", "check the account's balance"),
    "UnsupportedParamsError": _Refusal(
        "UnsupportedParameter", "leave out what the model does not take"
    ),
    "UnprocessableEntityError": _BAD_REQUEST,
    "BadRequestError": _BAD_REQUEST,
}
_REFUSING_STATUSES: Mapping[int | None, _Refusal] = {
    400: _BAD_REQUEST,
    401: _KEY_REFUSED,
    402: _Refusal("PaymentRequired", "check the account's balance"),
    403: _KEY_REFUSED,
    405: _BAD_REQUEST,
    413: _BAD_REQUEST,
    422: _BAD_REQUEST,
}


@dataclass(frozen=True)
class Endpoint:
    """A model as LiteLLM reaches it; `extra` goes into each call as it is."""

    model: str
    api_base: str | None = None
    api_key: str | None = field(default=None, repr=False)
    temperature: float | None = None
    max_tokens: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """What a model answered; `cost_usd` is absent for models without a known price."""

    text: str
    cost_usd: float | None
    # `stop`, or `length` when it was cut off at the token limit.
    finish_reason: str
    prompt_tokens: int = 0
    completion_tokens: int = 0
    # What the server said of its limits with it.
    limits: Limits | None = field(default=None, compare=False, repr=False)

    @property
    def tokens(self) -> int:
        """Tokens of prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class NoAnswerError(RetryableError):
    """A model did not answer; `busy` tells whether it has too much to do, `seconds` until when."""

    def __init__(
        self,
        message: str,
        *,
        reason: str = "ModelUnavailable",
        busy: bool = False,
        seconds: float | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Keep what the server said beside that it has no answer."""
        super().__init__(message, reason=reason)
        self.busy = busy
        self.seconds = seconds
        self.limits = limits


# Asks a model once: an answer, or one of our errors.
AskOnce = Callable[["Endpoint", Sequence[Mapping[str, str]]], Awaitable["Reply"]]


def build_endpoint(
    spec: JudgeSpec | BaselineSpec | LlmSpec, field_name: str, environment: Mapping[str, str]
) -> Endpoint:
    """Return where `spec` sends its requests; `field_name` is its place in the run, for messages.

    Raises:
        InputError: The key that `secretRef` names is not set.
    """
    if spec.model is None or spec.model == REFERENCE_JUDGE:
        msg = f"`{field_name}.model` must be a LiteLLM model id, got {spec.model!r}"
        raise InputError(msg, reason="UnknownModel")
    return Endpoint(
        model=spec.model,
        api_base=spec.api_base,
        api_key=_find_key(spec, field_name, environment),
        temperature=float(spec.temperature),
        max_tokens=spec.max_tokens,
    )


async def ask(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, str]],
    *,
    retries: int,
    first_delay: float = FIRST_DELAY_SECONDS,
    throttle: Throttle | None = None,
) -> Reply:
    """Return the model's answer; wait and ask again while the server is busy or away.

    A `throttle` that requests share lets all of them wait when one is told to.

    Raises:
        InputError: The server refuses the request: key, model id, or its settings.
        NoAnswerError: It was still busy or away after `retries` more attempts.
    """
    throttle = throttle or Throttle(_UNLIMITED)
    for attempt in range(retries + 1):
        try:
            async with throttle.place() as ticket:
                return await ask_in_place(throttle, ticket, ask_once, endpoint, messages)
        except NoAnswerError as failure:
            if attempt == retries:
                raise
            delay = build_delay(failure, attempt, first_delay)
            logger.warning("asking again in %.1f s (attempt %d): %s", delay, attempt + 2, failure)
        await asyncio.sleep(delay)
    raise AssertionError  # the last attempt returns or raises


async def ask_in_place(
    throttle: Throttle,
    ticket: Ticket,
    ask_model: AskOnce,
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, str]],
) -> Reply:
    """Ask once in a place of the throttle, and let the throttle know how it went.

    Raises:
        InputError: The server refuses the request.
        RetryableError: It is busy or away.
    """
    try:
        reply = await ask_model(endpoint, messages)
    except NoAnswerError as failure:
        throttle.learn(failure.limits, ticket)
        if failure.busy:
            throttle.busy(failure.seconds, ticket)
        raise
    except InputError:
        throttle.answered()
        raise
    throttle.learn(reply.limits, ticket)
    throttle.answered(ticket, reply.tokens)
    return reply


async def ask_once(
    endpoint: Endpoint,
    messages: Sequence[Mapping[str, str]],
    *,
    patience_seconds: float = TIMEOUT_SECONDS,
) -> Reply:
    """Return the model's answer to one request, which must be there whole after so long.

    Raises:
        InputError: The server refuses the request: key, model id, or its settings.
        NoAnswerError: It is busy or away.
    """
    load_litellm()
    from openai import OpenAIError  # noqa: PLC0415 - LiteLLM loaded it; all its errors derive from it

    try:
        # The client's own limit is that between two bytes, and some servers drip.
        async with asyncio.timeout(patience_seconds):
            return _build_reply(await _complete(endpoint, messages), endpoint.model)
    except TimeoutError:
        msg = f"model `{endpoint.model}` gave no whole answer in {patience_seconds:g} s"
        raise NoAnswerError(msg) from None
    except OpenAIError as error:
        # Not chained: the cause's text and frames hold the key.
        secrets = list_secrets(endpoint, os.environ)
        raise build_llm_failure(error, endpoint.model, secrets) from None


def is_token_count(tokens: float) -> bool:
    """Whether a server can have counted so many tokens; what it says else is worth nothing."""
    return 0 <= tokens <= _MOST_TOKENS


def build_delay(
    failure: RetryableError, attempt: int, first_delay: float = FIRST_DELAY_SECONDS
) -> float:
    """Return the seconds to wait: what the server asks for, or twice as long each time."""
    asked = failure.seconds if isinstance(failure, NoAnswerError) else None
    # Spread, so that all requests that failed together do not come back together.
    doubled = first_delay * 2.0 ** min(attempt, 32) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
    return min(doubled if asked is None else asked, MAX_DELAY_SECONDS)


def find_secret(
    ref: SecretRef, place: str, environment: Mapping[str, str], *, what: str = "key"
) -> str:
    """Return what a Secret's key, or on a laptop an environment variable, holds.

    Args:
        ref: Which one.
        place: How the user knows the reference, for the message.
        environment: Where it is looked for.
        what: What it is, in the words of whoever needs it.

    Raises:
        InputError: It is not set.
    """
    # In a cluster, with the Secret's name: two Secrets may use one key.
    key = (environment.get(f"{ref.name}.{ref.key}") or environment.get(ref.key, "")).strip()
    if not key:
        msg = (
            f"`{place}` must name a {what} that is set: environment variable "
            f"`{ref.key}` is absent or empty, and so is key `{ref.key}` of Secret `{ref.name}` "
            "where this runs in a cluster; set it and start again"
        )
        raise InputError(msg, reason="MissingCredential")
    return key


def build_llm_failure(error: Exception, model: str, secrets: Sequence[str]) -> JobError:
    """Return our error for one of LiteLLM's, without `secrets`."""
    text = redact(str(error), secrets)[:_MAX_MESSAGE]
    names = {base.__name__ for base in type(error).__mro__}
    refusal = next((refusal for name, refusal in _REFUSALS.items() if name in names), None)
    # LiteLLM has no name for some refusals, such as 403 from an OpenAI-compatible server.
    refusal = refusal or _REFUSING_STATUSES.get(getattr(error, "status_code", None))
    if refusal:
        msg = f"model `{model}` refused the request; {refusal.remedy}: {text}"
        return InputError(msg, reason=refusal.reason)
    headers = _find_headers(error)
    return NoAnswerError(
        f"model `{model}` gave no answer: {text}",
        reason="RateLimited" if "RateLimitError" in names else "ModelUnavailable",
        busy=getattr(error, "status_code", None) in _BUSY_STATUSES,
        seconds=_find_seconds(headers),
        limits=_find_limits(headers),
    )


def redact(text: str, secrets: Sequence[str]) -> str:
    """Return `text` without any of `secrets`."""
    for secret in secrets:
        text = text.replace(secret, "[redacted]")
    return text


def list_secrets(endpoint: Endpoint, environment: Mapping[str, str]) -> list[str]:
    """Return the key in use, and those that LiteLLM may have taken from the environment."""
    values = [value for name, value in environment.items() if _SECRET_NAME.search(name)]
    # Shorter values are placeholders such as `none`, and would blank out ordinary words.
    return [value for value in (endpoint.api_key or "", *values) if len(value) >= _MIN_SECRET]


def _find_key(
    spec: JudgeSpec | BaselineSpec | LlmSpec, field_name: str, environment: Mapping[str, str]
) -> str | None:
    if spec.secret_ref is None:
        return NO_KEY if spec.api_base else None
    return find_secret(spec.secret_ref, f"{field_name}.secretRef", environment)


async def _complete(endpoint: Endpoint, messages: Sequence[Mapping[str, str]]) -> Any:
    settings = {
        "api_base": endpoint.api_base,
        "api_key": endpoint.api_key,
        "temperature": endpoint.temperature,
        "max_tokens": endpoint.max_tokens,
        **endpoint.extra,
    }
    return await call_model(
        endpoint.model,
        [dict(message) for message in messages],
        TIMEOUT_SECONDS,
        {name: value for name, value in settings.items() if value is not None},
    )


def _build_reply(raw: Any, model: str) -> Reply:
    if not raw.choices:
        msg = "the server sent no choices"
        raise load_litellm().exceptions.APIConnectionError(message=msg, llm_provider="", model="")
    choice = raw.choices[0]
    usage = getattr(raw, "usage", None)
    hidden = getattr(raw, "_hidden_params", None) or {}
    prompt_tokens = getattr(usage, "prompt_tokens", 0) or 0
    completion_tokens = getattr(usage, "completion_tokens", 0) or 0
    if is_token_count(prompt_tokens) and is_token_count(completion_tokens):
        cost = price_reply(raw, model)
    else:
        # The price follows from them.
        prompt_tokens, completion_tokens, cost = 0, 0, None
    text = choice.message.content or ""
    is_cut = len(text) > _MOST_CHARACTERS
    return Reply(
        text=text[:_MOST_CHARACTERS],
        cost_usd=cost or None,
        finish_reason="length" if is_cut else choice.finish_reason or "stop",
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        limits=_find_limits(hidden.get("additional_headers") or {}),
    )


def _find_headers(error: Exception) -> Mapping[str, Any]:
    """Return what a server sent along with an error."""
    headers = getattr(getattr(error, "response", None), "headers", None)
    return headers or getattr(error, "litellm_response_headers", None) or {}


def _find_seconds(headers: Mapping[str, Any]) -> float | None:
    """Return how long a server asks to be left alone."""
    exact = _parse_number(headers.get("retry-after-ms"))
    if exact is not None:
        return exact / 1000
    asked = headers.get("retry-after")
    seconds = _parse_number(asked)
    if seconds is not None or asked is None:
        return seconds
    now = _parse_date(headers.get("date")) or datetime.now(UTC)
    until = _parse_date(asked)
    return None if until is None else max(0.0, (until - now).total_seconds())


def _parse_date(text: Any) -> datetime | None:
    """Return a moment as HTTP writes it, or nothing."""
    try:
        moment = parsedate_to_datetime(str(text))
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def _find_limits(headers: Mapping[str, Any]) -> Limits | None:
    """Return what a server says of its limits, in the words of OpenAI, which LiteLLM translates."""
    found = [
        _parse_number(headers.get(f"x-ratelimit-{what}"))
        for what in ("limit-requests", "remaining-requests", "limit-tokens", "remaining-tokens")
    ]
    return Limits(*found) if any(each is not None for each in found) else None


def _parse_number(text: Any) -> float | None:
    """Return a number that is not below zero, or nothing."""
    match = _NUMBER.fullmatch(str(text).strip())
    return float(match[0]) if match else None
