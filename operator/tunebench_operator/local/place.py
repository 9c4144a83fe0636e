"""Where the artefact store of a run on this machine lies: a folder, or a bucket with a copy here.

Only `tunebench_jobs` can talk to a bucket, so its command is asked; it prints one JSON document.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tunebench_api.places import S3_SCHEME, check_bucket, is_remote
from tunebench_api.v1alpha1 import BenchmarkRun, StorageSpec
from tunebench_operator.errors import UserError

_USER = 2


@dataclass(frozen=True)
class StorePlace:
    """A store; `root` is the folder here, which has attempts and logs in any case."""

    root: Path
    # Where the store lies elsewhere.
    uri: str | None = None
    # For the processes that talk to it.
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def pull(self) -> None:
        """Make the results in `root` those of the store.

        Raises:
            UserError: The bucket cannot be used; the message says what must change.
            OSError: It does not answer.
        """
        if self.uri is not None:
            _ask(["pull", self.uri, str(self.root)], self.environment)


def find_place(run: BenchmarkRun | None, named: str | None, default: str) -> StorePlace:
    """Return the store that the command line, the run or else the environment names.

    Raises:
        UserError: It is no store.
    """
    storage = run.spec.storage if run else None
    uri = named or (storage.uri if storage else default)
    if not is_remote(uri):
        return StorePlace(Path(uri.removeprefix("file://")))
    try:
        check_bucket(uri)
    except ValueError as error:
        msg = f"`spec.storage.uri` {error}"
        raise UserError(msg) from error
    uri = uri.rstrip("/")
    # Beside the stores of this machine, unless the store of this machine is that bucket.
    near = Path("runs" if is_remote(default) else default)
    root = near / "s3" / uri.removeprefix(S3_SCHEME)
    return StorePlace(root, uri, build_environment(storage))


def build_environment(storage: StorageSpec | None) -> dict[str, str]:
    """Build what a process needs in its environment to reach a run's buckets."""
    endpoint = storage.endpoint if storage else None
    # The narrower variable would go before the other one, whoever set it.
    names = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
    return dict.fromkeys(names, endpoint) if endpoint else {}


def fetch_sources(sources: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """Bring what fields name by `s3://` here; return the paths by URI.

    Raises:
        UserError: A source is absent or denied.
        OSError: A server does not answer.
    """
    if not sources:
        return {}
    named = [f"{name}={uri}" for name, uri in sources.items()]
    paths: dict[str, str] = _ask(["fetch", *named], environment)["paths"]
    return paths


def _ask(arguments: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "tunebench_jobs", "store", *arguments],
        stdout=subprocess.PIPE,
        check=False,
        env={**os.environ, **environment},
    )
    try:
        document: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        document = {"problem": f"`tunebench_jobs store` ended with code {done.returncode}"}
    if done.returncode == _USER:
        raise UserError(document["problem"])
    if done.returncode:
        raise OSError(document["problem"])
    return document
