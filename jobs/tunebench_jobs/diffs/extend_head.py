"""Lines of context around hunks, from the whole text of the file: layout of HEAD."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tunebench_jobs.diffs.hunks import Header, are_in_order, parse_header
from tunebench_jobs.diffs.options import OptionsHead


@dataclass(frozen=True)
class _File:
    """The lines of a file before and, where known, after the change."""

    old: list[str]
    new: list[str]


@dataclass(frozen=True)
class _Start:
    """Where an extended hunk begins, and what is left of its section's name."""

    old: int
    new: int
    section: str


def extend_patch_head(patch: str, old_text: str, new_text: str, options: OptionsHead) -> str:
    """Add lines of the file before and after each hunk.

    With dynamic context the lines before begin with the one that the header names as the section.
    """
    lines = patch.splitlines()
    if not options.patch_extra_lines_before and not options.patch_extra_lines_after:
        return patch
    if not are_in_order(lines):
        return patch
    file = _File(old_text.splitlines(), new_text.splitlines())
    return "\n".join(_extend(lines, file, options))


def _extend(lines: list[str], file: _File, options: OptionsHead) -> Iterator[str]:
    after: list[str] = []
    for line, following in zip(lines, [*lines[1:], ""], strict=False):
        header = parse_header(line) if line.startswith("@@") else None
        if header is None:
            yield line
            continue
        yield from after
        after = []
        yield ""
        if _differs(following, header, file):
            yield _show(header, header.section)
            continue
        start = _find_start(header, file, options)
        if start is None:
            yield _show(header, header.section)
        else:
            yield _show(_widen(header, start, file, options), start.section)
            yield from _as_context(file.old[start.old - 1 : header.start1 - 1])
        end = header.start1 + header.size1 - 1
        after = _as_context(file.old[end : end + options.patch_extra_lines_after])
    yield from after


def _differs(line: str, header: Header, file: _File) -> bool:
    """Whether a hunk begins with context that is not in the file: the texts are of another time."""
    place = header.start1 - 1
    if not line.startswith(" ") or not -len(file.old) <= place < len(file.old):
        return False
    return line.strip() != file.old[place].strip()


def _find_start(header: Header, file: _File, options: OptionsHead) -> _Start | None:
    """Return None where no line before the hunk is the same before and after the change."""
    if options.allow_dynamic_context and file.new:
        start = _find_section(header, file, options.max_extra_lines_before_dynamic_context)
        if start is not None:
            return start
    old, new = _step_back(header, options.patch_extra_lines_before)
    before, before_new = (
        file.old[old - 1 : header.start1 - 1],
        file.new[new - 1 : header.start2 - 1],
    )
    if not file.new or before == before_new:
        return _Start(old, new, header.section)
    for skipped in range(1, len(before)):
        if before[skipped:] == before_new[skipped:]:
            return _Start(old + skipped, new + skipped, header.section)
    return None


def _find_section(header: Header, file: _File, extra_lines: int) -> _Start | None:
    """Find the first line before the hunk with the section's name, the same before and after."""
    old, new = _step_back(header, extra_lines)
    before, before_new = (
        file.old[old - 1 : header.start1 - 1],
        file.new[new - 1 : header.start2 - 1],
    )
    for skipped, line in enumerate(before):
        if header.section in line:
            if before[skipped:] != before_new[skipped:]:
                return None
            return _Start(old + skipped, new + skipped, "")
    return None


def _step_back(header: Header, lines: int) -> tuple[int, int]:
    return max(1, header.start1 - lines), max(1, header.start2 - lines)


def _widen(header: Header, start: _Start, file: _File, options: OptionsHead) -> Header:
    """Return the numbers of the extended hunk, which promise no line past the file's end."""
    size1 = header.size1 + header.start1 - start.old + options.patch_extra_lines_after
    size2 = header.size2 + header.start2 - start.new + options.patch_extra_lines_after
    excess = max(0, start.old + size1 - 1 - len(file.old))
    return Header(
        start.old,
        max(size1 - excess, header.size1) if excess else size1,
        start.new,
        max(size2 - excess, header.size2) if excess else size2,
        start.section,
    )


def _as_context(lines: list[str]) -> list[str]:
    return [f" {line}" for line in lines]


def _show(header: Header, section: str) -> str:
    sizes = f"-{header.start1},{header.size1} +{header.start2},{header.size2}"
    return f"@@ {sizes} @@ {section}"
