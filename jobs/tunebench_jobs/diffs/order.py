"""Which files PR-Agent shows, and in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunebench_jobs.diffs.languages import Extensions
from tunebench_jobs.diffs.options import DiffOptions, PromptFormat
from tunebench_jobs.rows import ChangedFile

# Types of files that neither generation shows.
_NO_CODE = """
    app bin bmp bz2 class csv dat db dll dylib egg eot exe gif gitignore glif gradle gz ico jar jpeg
    jpg lo lock lockb log mp3 mp4 nar o ogg otf p pdf pickle pkl png pyc pyd pyo rkt snap so ss svg
    tar tgz tsv ttf war webm woff woff2 xz zip zst
"""
_NO_CODE_TYPES = frozenset(_NO_CODE.split())
# Of these HEAD shows none, though their types say code.
_GENERATED_NAMES = frozenset({"package-lock.json", "pnpm-lock.yaml", "go.sum"})
_GENERATED_ENDINGS = (".min.js", ".min.css", ".js.map", ".css.map")
_VENDORED = "vendor/"


def select_files(files: Sequence[ChangedFile], options: DiffOptions) -> list[ChangedFile]:
    """Return the files that PR-Agent looks at, or all where the prompt set says so."""
    if not options.select_files:
        return list(files)
    return [file for file in files if _is_shown(file.path, options.style)]


def group_files(
    files: Sequence[ChangedFile],
    languages: Mapping[str, int],
    extensions: Extensions,
) -> list[list[ChangedFile]]:
    """Put files of the repository's main language first; those of no language of it come last.

    Args:
        files: In the order of the pull request, which holds within a group.
        languages: Bytes of each language in the repository.
        extensions: The extensions of each language.
    """
    ranked = sorted(languages, key=lambda language: -languages[language])
    sets = [extensions.get(language.lower(), frozenset()) for language in ranked]
    groups = [[file for file in files if _extension(file) in each] for each in sets]
    main = frozenset().union(*sets)
    rest: dict[str, ChangedFile] = {}
    for file in files:
        if _extension(file) not in main:
            rest.setdefault(file.path, file)
    return [group for group in (*groups, list(rest.values())) if group]


def _is_shown(path: str, style: PromptFormat) -> bool:
    if path.rsplit(".", 1)[-1] in _NO_CODE_TYPES or path.startswith(_VENDORED):
        return False
    if style == "2024":
        return True
    return path.rsplit("/", 1)[-1] not in _GENERATED_NAMES and not path.endswith(_GENERATED_ENDINGS)


def _extension(file: ChangedFile) -> str:
    return f".{file.path.rsplit('.', 1)[-1]}"
