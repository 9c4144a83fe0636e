"""Find the files that a URI names: one, those of a folder, or those that match a pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tunebench_api.places import is_remote, is_url, list_matches, split_pattern
from tunebench_jobs.data.read_file import SUFFIXES, check_data_name, is_data_name
from tunebench_jobs.data.urls import list_url_files, redact_uri
from tunebench_jobs.errors import InputError
from tunebench_jobs.local_paths import parse_local_path

MAX_DATA_FILES = 10_000


@dataclass(frozen=True)
class DataFile:
    """A file of rows; `shown` is its name in messages, `open` brings it to this machine."""

    shown: str
    # Relative to the folder or pattern that it was found by.
    name: str
    open: Callable[[], AbstractContextManager[Path]]


def find_data_files(uri: str, field: str) -> list[DataFile]:
    """Return the files in the order of their names.

    Raises:
        InputError: There is none, or none that holds rows.
        RetryableError: A server does not answer.
    """
    if is_url(uri):
        found = [DataFile(file.shown, file.name, file.open) for file in list_url_files(uri, field)]
    else:
        found = _list_local(uri, field)
    # One that was named as such has an error of its own, which says what its name lacks.
    if len(found) == 1 and found[0].name == PurePosixPath(found[0].shown).name:
        check_data_name(found[0].name, field)
    kept = [file for file in found if is_data_name(file.name) and not _is_hidden(file.name)]
    if not kept:
        msg = (
            f"`{field}` must name at least one file that ends in {', '.join(SUFFIXES)}, got "
            f"{redact_uri(uri)}"
        )
        raise InputError(msg, reason="FileNotFound")
    if len(kept) > MAX_DATA_FILES:
        msg = f"`{field}` must name at most {MAX_DATA_FILES} files, got {len(kept)}; merge some"
        raise InputError(msg, reason="InvalidSource")
    return sorted(kept, key=lambda file: file.name)


def _list_local(uri: str, field: str) -> list[DataFile]:
    path = parse_local_path(uri, field)
    # A bucket's files are shown by their addresses and not by those of the copies.
    root = split_pattern(uri)[0].rstrip("/") if is_remote(uri) else str(path)
    if path.is_file():
        return [_build_local(path, path.name, root)]
    if path.is_dir():
        return _build_all(path.rglob("*"), path, root)
    folder, pattern = split_pattern(str(path))
    if not pattern:
        msg = f"`{field}` must be an existing file, folder or pattern, got `{path}`"
        raise InputError(msg, reason="FileNotFound")
    try:
        matches = list_matches(str(path))
    except ValueError as error:
        msg = f"`{field}` must be a pattern with `*`, `?`, `[...]` or `**/`, got `{path}`: {error}"
        raise InputError(msg, reason="InvalidSource") from error
    return _build_all((Path(folder, match) for match in matches), Path(folder), folder)


def _build_all(paths: Iterable[Path], folder: Path, root: str) -> list[DataFile]:
    named = ((path, path.relative_to(folder).as_posix()) for path in paths if path.is_file())
    return [_build_local(path, name, f"{root}/{name}" if root else name) for path, name in named]


def _build_local(path: Path, name: str, shown: str) -> DataFile:
    return DataFile(_make_text(shown), _make_text(name), lambda: nullcontext(path))


def _make_text(name: str) -> str:
    """Return a name that UTF-8 can say, which those of a disk need not be."""
    return name.encode(errors="backslashreplace").decode()


def _is_hidden(name: str) -> bool:
    """Whether it is a mark, a cache or unfinished, as tools name these."""
    return any(part.startswith((".", "_")) for part in name.split("/"))
