"""The HTTP side: OpenAI's two routes and a health check."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from tunebench_jobs.serve.protocol import ApiError, parse_chat_request
from tunebench_jobs.serve.service import ChatService


def build_app(service: ChatService) -> FastAPI:
    """Build the web application round a service."""
    app = FastAPI(title="tunebench", openapi_url=None)

    @app.get("/healthz")
    async def check_health() -> Response:
        if not service.is_alive():
            raise ApiError("the engine has stopped", status=HTTPStatus.SERVICE_UNAVAILABLE)
        return JSONResponse({"status": "ok"})

    @app.get("/v1/models")
    async def list_models() -> dict[str, Any]:
        return service.build_models()

    @app.post("/v1/chat/completions")
    async def complete_chat(request: Request) -> Response:
        chat = parse_chat_request(await request.body())
        if not chat.stream:
            return JSONResponse(await service.complete(chat))
        events = service.stream(chat)
        # Errors come before the first event, while the status can still be set.
        first = await anext(events)
        return StreamingResponse(_chain(first, events), media_type="text/event-stream")

    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(HTTPException, _answer_http_error)
    return app


async def _chain(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    async for event in rest:
        yield event


async def _answer_api_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, ApiError):
        raise error
    return JSONResponse(error.build_document(), status_code=error.status)


async def _answer_http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    text = f"{request.method} {request.url.path}: {error.detail}"
    return await _answer_api_error(request, ApiError(text, status=error.status_code))
