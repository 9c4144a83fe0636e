"""The patches of the files of a raw diff, for files whose patch GitHub leaves out elsewhere."""

from __future__ import annotations

import io

from tunebench_jobs.data.git_log import HUNK, read_hunk, unquote_path

_NOTHING = b"/dev/null"


def parse_raw_diff(diff: bytes) -> dict[str, str]:
    """Return the patch of each changed file, by its path; files without text have none."""
    patches: dict[str, list[bytes]] = {}
    path = b""
    lines = io.BytesIO(diff)
    while line := lines.readline():
        header = HUNK.match(line)
        if line.startswith(b"diff --git "):
            path = b""
        elif header is None and line.startswith((b"--- ", b"+++ ")):
            path = _parse_path(line) or path
        elif path and header is not None:
            kept = patches.setdefault(_decode(path), [])
            kept.extend(text for text, _ in read_hunk(line, header, lines))
        elif path and line.startswith(b"\\"):
            patches.setdefault(_decode(path), []).append(line)
    return {name: _decode(b"".join(kept)).removesuffix("\n") for name, kept in patches.items()}


def _parse_path(line: bytes) -> bytes:
    """Return the path of a `---` or `+++` line; a name with blanks ends in a tab."""
    name = unquote_path(line[4:].rstrip(b"\n").removesuffix(b"\t"))
    return b"" if name == _NOTHING else name.partition(b"/")[2]


def _decode(text: bytes) -> str:
    return text.decode("utf-8", errors="replace")
