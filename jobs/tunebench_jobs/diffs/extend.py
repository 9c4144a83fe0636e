"""Lines of context around hunks, from the whole text of the file: layout of 2024."""

from __future__ import annotations

from tunebench_jobs.diffs.hunks import Header, are_in_order, parse_header


def extend_patch(patch: str, old_text: str, extra_lines: int) -> str:
    """Add lines of the old file before and after each hunk.

    As in the original the added lines lack the space that marks context, and a header promises them
    even where the file ends before.
    """
    lines = patch.splitlines()
    if extra_lines == 0 or not are_in_order(lines):
        return patch
    old = old_text.splitlines()
    extended: list[str] = []
    header: Header | None = None
    for line in lines:
        following = parse_header(line) if line.startswith("@@") else None
        if following is None:
            extended.append(line)
            continue
        extended += _find_lines_after(header, old, extra_lines)
        header = following
        before = max(1, header.start1 - extra_lines)
        extended.append(_build_header(header, before, extra_lines))
        extended += old[before - 1 : header.start1 - 1]
    extended += _find_lines_after(header, old, extra_lines)
    return "\n".join(extended)


def _find_lines_after(header: Header | None, old: list[str], extra_lines: int) -> list[str]:
    if header is None:
        return []
    end = header.start1 + header.size1 - 1
    return old[end : end + extra_lines]


def _build_header(header: Header, start1: int, extra_lines: int) -> str:
    start2 = max(1, header.start2 - extra_lines)
    size1 = header.size1 + header.start1 - start1 + extra_lines
    size2 = header.size2 + header.start2 - start2 + extra_lines
    return f"@@ -{start1},{size1} +{start2},{size2} @@ {header.section}"
