"""Files that no person writes: locks, generated code, bundles, vendored code.

The rules follow GitHub's Linguist, without those that hit people's own code in many repositories
(`cache/`, `deps/`, `extern/`, `debian/`). A `.gitattributes` would know better, but rows have none.
"""

from __future__ import annotations

import re

from tunebench_jobs.rows import ChangedFile

_FOLDERS = re.compile(
    r"(?:^|/)(?:node_modules|bower_components|jspm_packages|vendor|third[-_]?party|3rd[-_]?party"
    r"|Godeps|Pods|Carthage/(?:Build|Checkouts)|site-packages|\.yarn/(?:releases|plugins|sdks|cache"
    r"|unplugged|versions)|__snapshots__|__generated__|__image_snapshots__|htmlcov"
    r"|\.terraform|\.ipynb_checkpoints|__pycache__|_workspace)/|^dist/",
    re.IGNORECASE,
)
_LOCKS = (
    r"[^/]*\.lock|[^/]*\.lockfile|[^/]*\.lock\.hcl|package-lock\.json|npm-shrinkwrap\.json"
    r"|pnpm-lock\.yaml|packages\.lock\.json|go\.(?:work\.)?sum|bun\.lockb|gradle\.lockfile"
    r"|package\.resolved|cartfile\.resolved|\.pnp\.[cm]?js|requirements\.lock\.txt"
)
_WRAPPERS = r"gradlew(?:\.bat)?|mvnw(?:\.cmd)?|gradle-wrapper\.properties"
_CODE = (
    r"[^/]+[.-]min\.(?:js|mjs|css)|[^/]+\.(?:js|css|mjs)\.map|[^/]+\.bundle\.(?:js|css)"
    r"|[^/]+\.pb\.(?:go|cc|h|swift|gw\.go|validate\.go)|[^/]+_pb2(?:_grpc)?\.pyi?"
    r"|[^/]+_pb\.(?:js|rb|d\.ts)|[^/]+_grpc_pb\.js|[^/]+\.snap|[^/]+\.(?:g|freezed|gr)\.dart"
    r"|[^/]+\.designer\.(?:cs|vb)|[^/]+\.g(?:\.i)?\.cs|[^/]+\.feature\.cs"
    r"|zz_generated[^/]*\.go|[^/]+[._-]gen(?:erated)?\.(?:go|ts|tsx|js|rs|cs|java|kt|py|swift)"
    r"|[^/]+\.nib|[^/]+\.xcuserstate|[^/]+\.xcworkspacedata"
    r"|(?:jquery|bootstrap|angular|d3|react|vue)(?:-[\d.]+)?(?:\.slim)?\.(?:js|css)"
)
_NAMES = re.compile(rf"(?:^|/)(?:{_LOCKS}|{_WRAPPERS}|{_CODE})$", re.IGNORECASE)

# How much of a file's beginning can hold the note that a generator leaves.
_HEAD_CHARACTERS = 1500
_HEAD_LINES = 20
_NOTE = re.compile(
    r"@generated\b|\bcode generated\b"
    r"|\b(?:auto(?:matically)?[- ]?|machine[- ])generated\b"
    r"|\bgenerated (?:by (?:the )?(?:protocol buffer compiler|cython|pip-compile|swig|bison|flex"
    r"|ragel|antlr|thrift|sqlc|mockgen|mockery|swagger|openapi|autoconf|automake|cmake|peg)"
    r"|automatically\b|from \S+\.(?:proto|thrift|idl|graphql|xsd|y|g4)\b)",
    re.IGNORECASE,
)
_WARNING = re.compile(r"\bdo(?: not|n't) (?:edit|modify|change)\b", re.IGNORECASE)
_COMMENT = re.compile(r"^\s{0,20}(?://|#|/\*|\*|--|;|<!--|%|\"\"\"|''')")
_FIRST_HUNK = re.compile(r"@@ -[01](?:,\d+)? \+[01](?:,\d+)? @@")
# Linguist's limit for the mean length of a line of code.
_MINIFIED_MEAN = 110
_MINIFIED_SUFFIXES = (".js", ".mjs", ".cjs", ".css")
_MINIFIED_CHARACTERS = 1000


def is_generated(path: str) -> bool:
    """Whether a path is that of a lock, a bundle, vendored or generated code."""
    return bool(_FOLDERS.search(path) or _NAMES.search(path))


def is_generated_file(file: ChangedFile) -> bool:
    """Whether a changed file is one by its path, its first lines or the length of its lines."""
    return is_generated(file.path) or _is_minified(file) or _has_note(file)


def _is_minified(file: ChangedFile) -> bool:
    patch = file.patch
    if len(patch) < _MINIFIED_CHARACTERS or not file.path.endswith(_MINIFIED_SUFFIXES):
        return False
    return len(patch) / (patch.count("\n") + 1) > _MINIFIED_MEAN


def _has_note(file: ChangedFile) -> bool:
    """Whether a comment near the file's top says that a program wrote it."""
    head = _find_head(file)
    # Any note has this word, and it is found much faster than a pattern.
    if "generated" not in head.lower():
        return False
    comments = [line for line in head.split("\n")[:_HEAD_LINES] if _COMMENT.match(line)]
    if any(_NOTE.search(line) for line in comments):
        return True
    text = "\n".join(comments)
    return bool(_WARNING.search(text)) and "generated" in text.lower()


def _find_head(file: ChangedFile) -> str:
    """Return the file's first lines, as far as the row has them."""
    whole = file.new_text or file.old_text
    if whole:
        return whole[:_HEAD_CHARACTERS]
    if not _FIRST_HUNK.match(file.patch):
        return ""
    lines = file.patch[:_HEAD_CHARACTERS].split("\n")[1:]
    return "\n".join(line[1:] for line in lines)
