"""This machine's copy of a store in a bucket: fetched where asked for, checked, sent back."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath

from pydantic import ValidationError

from tunebench_api.contract import RESULT_FILE, Artefact, StageResult
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.files import build_file_digest, save_bytes
from tunebench_jobs.storage.bucket import Bucket
from tunebench_jobs.storage.uploads import Uploads

logger = logging.getLogger(__name__)

_TRANSFERS = 8


class Mirror:
    """A folder that stands for a store in a bucket; the bucket decides what counts."""

    def __init__(self, bucket: Bucket, folder: Path) -> None:
        """Mirror `bucket` in `folder`."""
        self.bucket = bucket
        self.folder = folder
        self.uploads = Uploads(bucket.put)
        self._results: dict[str, StageResult] = {}

    def load_result(self, output: str) -> StageResult | None:
        """Return the result of a stage, if the bucket has it; kept beside its artefacts here.

        Raises:
            InputError: It is damaged.
        """
        if output not in self._results:
            content = self.bucket.get(f"{output}/{RESULT_FILE}")
            if content is None:
                # A copy that the bucket does not have counts no more.
                (self.folder / output / RESULT_FILE).unlink(missing_ok=True)
                return None
            self._results[output] = self._parse_result(output, content)
            save_bytes(self.folder / output / RESULT_FILE, content)
        return self._results[output]

    def fetch(self, reference: str) -> None:
        """Bring `<stage>/<digest>` here, or one file or folder of it, as its result lists it.

        Raises:
            InputError: There is no such result.
            RetryableError: An artefact is not what the result says.
        """
        kind, digest, *rest = reference.split("/")
        output, wanted = f"{kind}/{digest}", "/".join(rest)
        result = self.load_result(output)
        if result is None:
            msg = (
                f"`{self.bucket.uri}/{output}` must hold a finished result, got none; start the "
                "run again, which computes it"
            )
            raise InputError(msg, reason="ResultMissing")
        needed = [
            each
            for each in result.artefacts
            if not wanted or each.path == wanted or each.path.startswith(f"{wanted}/")
        ]
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            list(pool.map(lambda each: self._fetch_artefact(output, each), needed))

    def fetch_file(self, key: str) -> Path | None:
        """Bring a file here that no result lists yet; nothing where the bucket has none."""
        path = self.folder / key
        path.unlink(missing_ok=True)
        return path if self.bucket.download(key, path) else None

    def send(self, keys: Iterable[str]) -> None:
        """Send files of the mirror; all of them lie in the bucket when this returns."""
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            list(pool.map(lambda key: self.bucket.upload(self.folder / key, key), keys))

    def publish(self, output: str, result: StageResult, content: bytes, sent: set[str]) -> None:
        """Send a stage's artefacts except those that were `sent` before, and its result last."""
        self.uploads.flush()
        names = [each.path for each in result.artefacts]
        self.send(f"{output}/{name}" for name in names if name not in sent)
        self._check_sizes(output, result)
        self.bucket.put(f"{output}/{RESULT_FILE}", content)

    def sync_journal(self, folder: str, prefix: str) -> None:
        """Bring the shards of a journal here, and send those that a killed stage left here.

        A shard only grows and has one writer, so the longer one is the newer one.
        """
        there = {
            name: size
            for name, size in self.bucket.list(folder).items()
            if name.startswith(prefix) and name.endswith(".jsonl") and "/" not in name
        }
        here = {
            path.name: path.stat().st_size
            for path in (self.folder / folder).glob(f"{prefix}*.jsonl")
        }
        newer = [name for name, size in there.items() if size > here.get(name, 0)]
        with ThreadPoolExecutor(_TRANSFERS) as pool:
            list(
                pool.map(
                    lambda name: self.bucket.download(
                        f"{folder}/{name}", self.folder / folder / name
                    ),
                    newer,
                )
            )
        for name, size in here.items():
            if size > there.get(name, 0):
                self.keep(self.folder / folder / name)
        self.uploads.flush()

    def keep(self, path: Path) -> None:
        """Send a file of the mirror that has grown, soon."""
        self.uploads.touch(path, path.relative_to(self.folder).as_posix())

    def close(self) -> None:
        """Send what has not been sent."""
        self.uploads.close()

    def _fetch_artefact(self, output: str, artefact: Artefact) -> None:
        check_inside(artefact.path, f"{self.bucket.uri}/{output}")
        path = self.folder / output / artefact.path
        if _is_same(path, artefact):
            return
        key = f"{output}/{artefact.path}"
        logger.info("fetching %s (%d bytes)", key, artefact.bytes)
        if not self.bucket.download(key, path) or not _is_same(path, artefact):
            path.unlink(missing_ok=True)
            msg = (
                f"`{self.bucket.uri}/{key}` is absent or was changed after its stage (SHA-256 "
                f"differs); remove `{self.bucket.uri}/{output}` and start the run again"
            )
            # Another machine may be replacing both right now.
            raise RetryableError(msg, reason="ArtefactChanged")

    def _check_sizes(self, output: str, result: StageResult) -> None:
        there = self.bucket.list(output)
        for each in result.artefacts:
            if there.get(each.path) != each.bytes:
                msg = f"`{self.bucket.uri}/{output}/{each.path}` did not arrive whole; start again"
                raise RetryableError(msg, reason="StoreUnavailable")

    def _parse_result(self, output: str, content: bytes) -> StageResult:
        try:
            return StageResult.model_validate_json(content)
        except ValidationError as error:
            msg = (
                f"`{self.bucket.uri}/{output}/{RESULT_FILE}` must be a stage's result, but is "
                f"damaged; remove `{self.bucket.uri}/{output}` and start again"
            )
            raise InputError(msg, reason="BrokenResult") from error


def check_inside(name: str, place: str) -> None:
    """Check that a name from a bucket is one below its folder.

    Raises:
        InputError: It leads elsewhere.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        msg = f"`{place}` lists {name!r}, which leads out of it"
        raise InputError(msg, reason="BrokenResult")


def _is_same(path: Path, artefact: Artefact) -> bool:
    return (
        path.is_file()
        and path.stat().st_size == artefact.bytes
        and build_file_digest(path) == artefact.sha256
    )
