"""One word of each judge, with its own key and parameters, before a model is trained."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from tunebench_jobs.errors import JobError
from tunebench_jobs.llm import Endpoint, ask

# A server that counts what it sells can tell it from a comparison.
PROBE = "This only checks that you can be asked. Reply with the one word `ready`."
# A server that is busy is given about six seconds.
_RETRIES = 2


@dataclass(frozen=True)
class Probed:
    """Who is asked, and its place in the run."""

    field: str
    name: str
    endpoint: Endpoint


async def probe_judges(judges: Sequence[Probed]) -> dict[str, JobError]:
    """Ask all judges at once, and return what those say that cannot be asked, by place."""
    found = await asyncio.gather(*(_probe(judge) for judge in judges))
    pairs = zip(judges, found, strict=True)
    return {judge.field: failure for judge, failure in pairs if failure}


async def _probe(judge: Probed) -> JobError | None:
    """Ask as the judge will be asked: what it thinks of the parameters is found here, too."""
    try:
        await ask(judge.endpoint, [{"role": "user", "content": PROBE}], retries=_RETRIES)
    except JobError as error:
        # Busy with others' questions: key and model are good. An account without money says quota.
        if error.reason == "RateLimited" and "quota" not in str(error).lower():
            return None
        part = ".secretRef" if error.reason == "AuthenticationFailed" else ""
        msg = f"`{judge.field}{part}`: judge `{judge.name}` does not answer: {error}"
        return type(error)(msg, reason=error.reason)
    return None
