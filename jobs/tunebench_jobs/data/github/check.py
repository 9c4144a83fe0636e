"""Whether GitHub can be asked, found out by a request that costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from tunebench_api.v1alpha1 import GitHubSource
from tunebench_jobs.data.github.client import ClientSettings, GitHubClient
from tunebench_jobs.data.github.errors import RefusedError, name_field
from tunebench_jobs.data.github.source import find_github_token
from tunebench_jobs.errors import InputError

_SETTINGS = ClientSettings(tries=2, timeout=10.0)


def check_github(source: GitHubSource, field: str, environment: Mapping[str, str]) -> None:
    """Check that an API answers at `apiBase`, and takes the token.

    Raises:
        InputError: The token is absent or refused, or there is no API.
        RetryableError: The server is away.
    """
    token = find_github_token(source, field, environment)
    asyncio.run(_check(source, field, token))


async def _check(source: GitHubSource, field: str, token: str | None) -> None:
    async with GitHubClient(source.api_base, token, field=field, settings=_SETTINGS) as client:
        if await client.learn_limits():
            return
        try:
            await client.get("/")
        except RefusedError as error:
            msg = (
                f"`{name_field(field, 'apiBase')}` must be the address of an API, such as "
                f"https://HOST/api/v3 of a server of your own, got {source.api_base}: {error}"
            )
            raise InputError(msg, reason="InvalidAddress") from None
