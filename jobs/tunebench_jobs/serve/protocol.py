"""OpenAI's chat completions: what requests may ask for, and how answers and errors look."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tunebench_jobs.serve.request import Sampling

MAX_STOPS = 16

# They change nothing about a completion.
_IGNORED = frozenset(
    {
        "metadata",
        "parallel_tool_calls",
        "prompt_cache_key",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
    }
)
# Values with which a field asks for nothing; with any other it is refused.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "logprobs": (False,),
    "modalities": (["text"],),
    "presence_penalty": (0,),
    "response_format": ({"type": "text"},),
    "tool_choice": ("none", "auto"),
    "tools": ([],),
    "top_logprobs": (0,),
}


class ApiError(Exception):
    """A request that cannot be answered, in OpenAI's words."""

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None
    ) -> None:
        """Keep what the error document shows."""
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code

    def build_document(self) -> dict[str, Any]:
        """Build the body of the error."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"  # noqa: PLR2004 - HTTP
        return {
            "error": {
                "message": str(self),
                "type": kind,
                "param": self.param,
                "code": self.code,
            }
        }


def _join_parts(content: object) -> object:
    """Accept a list of text parts for a text."""
    if not isinstance(content, list):
        return content
    for part in content:
        if not isinstance(part, dict) or part.get("type") != "text":
            msg = "only parts of type `text` are supported"
            raise ValueError(msg)
    return "".join(str(part.get("text", "")) for part in content)


def _listed(stop: object) -> object:
    return [stop] if isinstance(stop, str) else stop


class Message(BaseModel):
    """One message of a conversation."""

    model_config = ConfigDict(frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_join_parts)]

    def to_template(self) -> dict[str, str]:
        """Return the message as chat templates want it."""
        role = "system" if self.role == "developer" else self.role
        return {"role": role, "content": self.content}


class StreamOptions(BaseModel):
    """What a stream carries besides text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    include_usage: bool = False
    # Padding against eavesdroppers on encrypted lines; there is none here.
    include_obfuscation: bool = False


class ChatRequest(BaseModel):
    """A request for a chat completion; other fields are ignored or refused by name."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    stop: Annotated[list[Annotated[str, Field(min_length=1)]] | None, BeforeValidator(_listed)] = (
        Field(default=None, max_length=MAX_STOPS)
    )
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    n: Literal[1] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    @property
    def asked_tokens(self) -> int | None:
        """Return the most tokens that the client wants."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with the usage."""
        return self.stream_options is not None and self.stream_options.include_usage

    def build_sampling(self, *, max_tokens: int, seed: int) -> Sampling:
        """Build the settings of the engine; `seed` counts where the request has none."""
        return Sampling(
            max_tokens=max_tokens,
            temperature=1.0 if self.temperature is None else self.temperature,
            top_p=1.0 if self.top_p is None else self.top_p,
            seed=seed if self.seed is None else self.seed,
            stop=tuple(self.stop or ()),
        )


@dataclass(frozen=True)
class Usage:
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int

    def build_document(self) -> dict[str, int]:
        """Build the `usage` of an answer."""
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True)
class Envelope:
    """What all documents of one completion share."""

    id: str
    model: str
    created: int

    def build_completion(self, text: str, finish_reason: str, usage: Usage) -> dict[str, Any]:
        """Build the answer to a request without `stream`."""
        message = {"role": "assistant", "content": text, "refusal": None}
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return self._build("chat.completion", [choice], usage=usage.build_document())

    def build_chunk(
        self, delta: Mapping[str, str], finish_reason: str | None = None
    ) -> dict[str, Any]:
        """Build one event of a stream."""
        choice = {
            "index": 0,
            "delta": dict(delta),
            "logprobs": None,
            "finish_reason": finish_reason,
        }
        return self._build("chat.completion.chunk", [choice])

    def build_usage_chunk(self, usage: Usage) -> dict[str, Any]:
        """Build the event that ends a stream with `include_usage`."""
        return self._build("chat.completion.chunk", [], usage=usage.build_document())

    def _build(self, kind: str, choices: list[Any], **more: Any) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
            **more,
        }


def parse_chat_request(raw: bytes) -> ChatRequest:
    """Parse a request body.

    Raises:
        ApiError: It is broken, or asks for what would be silently missing from the completion.
    """
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise ApiError(f"the request body must be JSON: {error}") from error
    if not isinstance(document, dict):
        raise ApiError(f"the request body must be an object, got {type(document).__name__}")
    wanted = {name: value for name, value in document.items() if _is_wanted(name, value)}
    try:
        return ChatRequest.model_validate(wanted)
    except ValidationError as error:
        raise _build_error(error) from error


def build_models_document(names: Sequence[str], created: int) -> dict[str, Any]:
    """Build the answer to `GET /v1/models`."""
    data = [
        {"id": name, "object": "model", "created": created, "owned_by": "tunebench"}
        for name in names
    ]
    return {"object": "list", "data": data}


def build_event(document: Mapping[str, Any] | str) -> str:
    """Build one server-sent event."""
    text = document if isinstance(document, str) else json.dumps(document, ensure_ascii=False)
    return f"data: {text}\n\n"


def _is_wanted(name: str, value: object) -> bool:
    """Tell whether a field has a say; raise where it asks for what is not supported."""
    if name in ChatRequest.model_fields:
        return True
    if name in _IGNORED or value is None or value in _NEUTRAL.get(name, ()):
        return False
    raise ApiError(f"`{name}` is not supported yet; leave it out", param=name)


def _build_error(error: ValidationError) -> ApiError:
    problem = error.errors()[0]
    param = ".".join(str(part) for part in problem["loc"])
    if param == "n":
        return ApiError("`n` must be 1, other values are not supported yet", param=param)
    got = "" if problem["type"] == "missing" else f", got {str(problem['input'])[:80]!r}"
    return ApiError(f"`{param}`: {problem['msg']}{got}", param=param)
