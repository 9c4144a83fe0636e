"""Chat completions over an engine: names, prompts and limits on one side, pieces on the other."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tunebench_jobs.chat import build_prompt_ids
from tunebench_jobs.errors import InputError
from tunebench_jobs.serve.engine import Engine, EngineStoppedError
from tunebench_jobs.serve.protocol import (
    ApiError,
    ChatRequest,
    Envelope,
    Usage,
    build_event,
    build_models_document,
)
from tunebench_jobs.serve.request import Piece, Request

_STOPPED = "the model stopped working and is restarted; ask again"


@dataclass(frozen=True)
class _Ticket:
    """A submitted request and the pieces that come."""

    request: Request
    pieces: asyncio.Queue[Piece]
    envelope: Envelope


class ChatService:
    """Answers chat requests with the variants of one engine."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Any,
        *,
        variants: Mapping[str, int | None],
        context_limit: int,
        seed: int,
    ) -> None:
        """Put names on the engine's adapters.

        Args:
            engine: A started engine.
            tokenizer: Builds prompts; must not be the engine's own.
            variants: Adapter by model id; None is the base model or the full checkpoint.
            context_limit: Most tokens of prompt and completion together.
            seed: Where requests without a seed get theirs from.
        """
        self._engine = engine
        self._tokenizer = tokenizer
        self._variants = dict(variants)
        self._context_limit = context_limit
        self._seeds = random.Random(seed)  # noqa: S311 - samples tokens, guards nothing
        self._created = int(time.time())

    def is_alive(self) -> bool:
        """Whether requests are answered."""
        return self._engine.is_alive()

    def build_models(self) -> dict[str, Any]:
        """Build the list of models."""
        return build_models_document(list(self._variants), self._created)

    async def complete(self, chat: ChatRequest) -> dict[str, Any]:
        """Answer a request at once.

        Raises:
            ApiError: The request cannot be answered.
        """
        with self._ask(chat, stream=False) as ticket:
            piece = await _get(ticket)
            usage = Usage(len(ticket.request.prompt_ids), piece.completion_tokens)
            return ticket.envelope.build_completion(piece.text, piece.finish_reason or "", usage)

    async def stream(self, chat: ChatRequest) -> AsyncIterator[str]:
        """Answer a request piece by piece, as server-sent events.

        Raises:
            ApiError: The request cannot be answered; raised before the first event.
        """
        with self._ask(chat, stream=True) as ticket:
            envelope = ticket.envelope
            piece = await _get(ticket)
            yield build_event(envelope.build_chunk({"role": "assistant", "content": ""}))
            while True:
                if piece.text:
                    yield build_event(envelope.build_chunk({"content": piece.text}))
                if piece.finish_reason:
                    break
                try:
                    piece = await _get(ticket)
                except ApiError as error:
                    # The status is out already; clients know an error in the stream, too.
                    yield build_event(error.build_document())
                    return
            yield build_event(envelope.build_chunk({}, piece.finish_reason))
            if chat.include_usage:
                usage = Usage(len(ticket.request.prompt_ids), piece.completion_tokens)
                yield build_event(envelope.build_usage_chunk(usage))
            yield build_event("[DONE]")

    @contextlib.contextmanager
    def _ask(self, chat: ChatRequest, *, stream: bool) -> Iterator[_Ticket]:
        """Submit a request, and cancel it where the client leaves early."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[Piece]()
        request = self._build_request(
            chat,
            stream=stream,
            emit=lambda piece: loop.call_soon_threadsafe(pieces.put_nowait, piece),
        )
        try:
            self._engine.submit(request)
        except EngineStoppedError as error:
            raise ApiError(_STOPPED, status=503) from error
        try:
            envelope = Envelope(f"chatcmpl-{uuid.uuid4().hex}", chat.model, int(time.time()))
            yield _Ticket(request, pieces, envelope)
        finally:
            self._engine.cancel(request)

    def _build_request(self, chat: ChatRequest, *, stream: bool, emit: Any) -> Request:
        if chat.model not in self._variants:
            known = ", ".join(f"`{name}`" for name in self._variants)
            raise ApiError(
                f"model `{chat.model}` does not exist; there are {known}",
                status=404,
                param="model",
                code="model_not_found",
            )
        try:
            messages = [message.to_template() for message in chat.messages]
            ids = build_prompt_ids(self._tokenizer, messages)
        except InputError as error:
            raise ApiError(str(error), param="messages") from error
        sampling = chat.build_sampling(
            max_tokens=self._find_max_tokens(len(ids), chat.asked_tokens),
            seed=self._seeds.getrandbits(63),
        )
        return Request(self._variants[chat.model], tuple(ids), sampling, emit, stream=stream)

    def _find_max_tokens(self, prompt_tokens: int, asked: int | None) -> int:
        """Return the limit of the completion; a prompt is never cut to make room."""
        limit = self._context_limit
        if prompt_tokens == 0:
            raise ApiError("`messages` must not be empty", param="messages")
        if prompt_tokens + (asked or 1) > limit:
            raise ApiError(
                f"the model's context is {limit} tokens, got {prompt_tokens} in `messages` plus "
                f"{asked or 1} for the completion; shorten the messages or lower `max_tokens`",
                param="messages",
                code="context_length_exceeded",
            )
        return asked or limit - prompt_tokens


async def _get(ticket: _Ticket) -> Piece:
    """Return the pieces that are there as one, waiting for the first."""
    pieces = [await ticket.pieces.get()]
    while not ticket.pieces.empty():
        pieces.append(ticket.pieces.get_nowait())
    last = pieces[-1]
    if last.finish_reason == "error":
        raise ApiError(_STOPPED, status=503)
    text = "".join(piece.text for piece in pieces)
    return Piece(text, last.completion_tokens, last.finish_reason)
