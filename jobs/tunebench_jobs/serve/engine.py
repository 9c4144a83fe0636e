"""The engine: one thread that computes, and takes requests in between any two tokens."""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tunebench_jobs.serve.decoder import Decoder
from tunebench_jobs.serve.request import Piece, Request
from tunebench_jobs.serve.sampling import Chooser, choose_tokens
from tunebench_jobs.serve.text import TextStream

logger = logging.getLogger(__name__)


class EngineStoppedError(Exception):
    """The engine takes no requests any more."""


@dataclass(eq=False)
class _Sequence:
    """A request under way."""

    request: Request
    text: TextStream
    chooser: Chooser
    token: int = -1
    count: int = 0
    parts: list[str] = field(default_factory=list)

    def accept(self, token: int, end_tokens: Sequence[int]) -> str | None:
        """Take the next token, emit what it adds, and return why the completion ends, if so."""
        self.token = token
        self.count += 1
        reason = self._read(token, end_tokens)
        if reason or (self.request.stream and self.parts):
            self.request.emit(Piece("".join(self.parts), self.count, reason))
            self.parts.clear()
        return reason

    def _read(self, token: int, end_tokens: Sequence[int]) -> str | None:
        ended = token in end_tokens
        if not ended:
            self._keep(self.text.push(token))
        full = self.count >= self.request.sampling.max_tokens
        if ended or full:
            self._keep(self.text.finish())
        if ended or self.text.stopped:
            return "stop"
        return "length" if full else None

    def _keep(self, text: str) -> None:
        if text:
            self.parts.append(text)


class Engine:
    """Runs requests in a changing batch; requests join and leave between two tokens."""

    def __init__(
        self,
        decoder: Decoder,
        tokenizer: Any,
        *,
        end_tokens: Sequence[int],
        batch_tokens: int,
        threads: int,
    ) -> None:
        """Prepare; `tokenizer` must belong to the engine alone.

        Args:
            decoder: The model.
            tokenizer: Turns tokens into text.
            end_tokens: Tokens at which a completion ends.
            batch_tokens: Most tokens in memory: sequences times the longest that one may get.
            threads: CPU threads to compute with.
        """
        self._decoder = decoder
        self._tokenizer = tokenizer
        self._end_tokens = tuple(end_tokens)
        self._batch_tokens = batch_tokens
        self._threads = threads
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._waiting: deque[Request] = deque()
        self._running: list[_Sequence] = []
        self._stopped = False
        self._lock = threading.Lock()
        # A daemon, so that a process that ends for another reason is not held up.
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the engine computes and takes requests."""
        return self._thread.is_alive() and not self._stopped

    def submit(self, request: Request) -> None:
        """Queue a request.

        Raises:
            EngineStoppedError: It will never be answered.
        """
        with self._lock:
            if self._stopped:
                raise EngineStoppedError
            self._inbox.put(lambda: self._waiting.append(request))

    def cancel(self, request: Request) -> None:
        """Drop a request if it is not finished; no more pieces come once it is dropped."""
        self._inbox.put(lambda: self._drop(request))

    def close(self) -> None:
        """Stop the thread; what is not finished ends with `error`."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        # OpenMP's number of threads is a property of the calling thread.
        torch.set_num_threads(self._threads)
        try:
            while self._receive():
                self._admit()
                if self._running:
                    self._advance(
                        self._running, self._decoder.step([each.token for each in self._running])
                    )
        except Exception:
            # The main of its thread: whoever waits is told below, Ray Serve by the health check.
            logger.exception("engine broke down")
        finally:
            self._fail_all()

    def _receive(self) -> bool:
        """Take all messages, waiting where there is nothing to compute; False means to stop."""
        idle = not self._running and not self._waiting
        while True:
            try:
                message = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            if message is None:
                return False
            message()
            idle = not self._running and not self._waiting

    def _admit(self) -> None:
        """Start waiting requests, first come first served, while there is room."""
        while self._waiting and self._has_room(self._waiting[0]):
            request = self._waiting[0]
            sampling = request.sampling
            sequence = _Sequence(
                request, TextStream(self._tokenizer, sampling.stop), Chooser(sampling)
            )
            logits = self._decoder.read_prompt(request.adapter, request.prompt_ids)
            # Until now it waits, so that it is not forgotten when reading breaks down.
            self._waiting.popleft()
            self._running.append(sequence)
            self._advance([sequence], logits)

    def _has_room(self, request: Request) -> bool:
        if not self._running:
            return True
        longest = max(request.most_tokens, *(each.request.most_tokens for each in self._running))
        count = len(self._running) + 1
        return count <= self._decoder.batch_size and count * longest <= self._batch_tokens

    def _advance(self, sequences: Sequence[_Sequence], logits: Any) -> None:
        tokens = choose_tokens(logits, [each.chooser for each in sequences])
        ended = [
            each
            for each, token in zip(sequences, tokens, strict=True)
            if each.accept(token, self._end_tokens)
        ]
        for each in ended:
            self._remove(each)

    def _drop(self, request: Request) -> None:
        if request in self._waiting:
            self._waiting.remove(request)
        for each in [each for each in self._running if each.request is request]:
            self._remove(each)

    def _remove(self, sequence: _Sequence) -> None:
        """Take a sequence out; the last one takes its place, as in the decoder."""
        index = self._running.index(sequence)
        self._decoder.remove(index)
        last = self._running.pop()
        if index < len(self._running):
            self._running[index] = last

    def _fail_all(self) -> None:
        with self._lock:
            self._stopped = True
        while not self._inbox.empty():
            if message := self._inbox.get():
                message()
        unfinished = [*self._waiting, *(each.request for each in self._running)]
        if unfinished:
            logger.error("engine stopped with %d requests unfinished", len(unfinished))
        for request in unfinished:
            request.emit(Piece("", 0, "error"))
        self._waiting.clear()
        self._running.clear()
