"""Many realistic pull requests, made from the source code that lies on this machine.

Real text comes from the installed Python packages and the standard library, and, where they are
found, from the sources of Go, from Perl's and Node's modules and from C headers. A pull request
perturbs 1 to 25 files of one project, most often 1 or 2, at 1 to 8 places each, by four operations:

* replace: an identifier becomes another one of the same file, wherever it is in a run of lines;
* insert: a run of lines of another file of the same language is put in;
* delete: a run of lines goes;
* and now and then a file, cut to a random range of its lines, is added or removed as a whole, or
  renamed beside its edits.

Row `i` depends on the seed and `i` only, so a longer corpus begins with the shorter one. Titles,
descriptions and answers are built from identifiers and comments of the changed files. The same
machine gives the same rows; another machine, with other packages, gives others.
"""

from __future__ import annotations

import re
import shutil
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from itertools import islice
from pathlib import Path
from random import Random

import yaml

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.rows import ChangedFile, PullRequest

LICENSES = ("MIT", "MIT", "MIT", "Apache-2.0", "Apache-2.0", "BSD-3-Clause", "BSD-2-Clause", "ISC")
LANGUAGES = {
    ".py": "Python",
    ".go": "Go",
    ".js": "JavaScript",
    ".pm": "Perl",
    ".h": "C",
    ".c": "C",
    ".cpp": "C++",
    ".pyi": "Python",
    ".md": "Markdown",
    ".yaml": "YAML",
}
_AUTHORS = ("ada", "grace", "linus-t", "margaret", "ken", "barbara", "guido", "radia", "donald")
_VERBS = ("Fix", "Add", "Refactor", "Support", "Simplify", "Handle", "Extend", "Speed up", "Test")
_LABELS = ("bug fix", "enhancement", "tests", "documentation", "refactoring")
_WORD = re.compile(r"\b[A-Za-z_][A-Za-z0-9_]{3,24}\b")
_COMMENT = re.compile(r"^[ \t]*(?:#|//|\*)[ \t]+([A-Z][^{}<>\\\n]{20,120})$", re.MULTILINE)
_CONTEXT = 3
_EPOCH = datetime(2021, 1, 1, tzinfo=UTC)
# Enough variety, and little enough to stay in memory.
_FILES_PER_ROOT = 1500
_PROJECT_FILES = 120
_FILE_COUNTS = (*(1,) * 40, *(2,) * 25, *(3,) * 12, *(4, 5, 6, 7, 8) * 4, 12, 18, 25)
_MIN_CHANGE = 80
_MIN_LINES, _MAX_BYTES = 40, 48_000


@dataclass(frozen=True)
class Project:
    """A folder of sources that stands for a repository; paths are relative to `root`."""

    name: str
    root: Path
    paths: tuple[str, ...]


@dataclass(frozen=True)
class _Edit:
    """Lines `start` to `end` become `lines`."""

    start: int
    end: int
    lines: Sequence[str]


def make_pulls(count: int, seed: int = 0) -> Iterator[PullRequest]:
    """Yield `count` pull requests with answers to every tool; their ids are unique."""
    projects = find_projects()
    for number in range(count):
        yield _make_pull(number, projects, Random(f"{seed}:{number}"))  # noqa: S311 - no secret


@lru_cache(maxsize=1)
def find_projects() -> tuple[Project, ...]:
    """Return the projects of this machine, in a stable order."""
    found = []
    for root in _list_roots():
        folders = (folder for folder in sorted(root.iterdir()) if folder.is_dir())
        budget = _FILES_PER_ROOT
        for folder in folders:
            paths = tuple(islice(_list_sources(folder, root), min(budget, _PROJECT_FILES)))
            budget -= len(paths)
            if len(paths) > 2:
                found.append(Project(folder.name, root, paths))
    return tuple(found)


def make_patch(lines: Sequence[str], edits: Sequence[_Edit]) -> str:
    """Return git's unified diff, from the first `@@` on, of sorted edits that do not overlap."""
    hunks: list[list[_Edit]] = []
    for edit in edits:
        if hunks and edit.start - hunks[-1][-1].end <= 2 * _CONTEXT:
            hunks[-1].append(edit)
        else:
            hunks.append([edit])
    text: list[str] = []
    shift = 0
    for hunk in hunks:
        body, shift = _make_hunk(lines, hunk, shift)
        text += body
    return "\n".join(text)


def _make_hunk(lines: Sequence[str], edits: Sequence[_Edit], shift: int) -> tuple[list[str], int]:
    start = max(0, edits[0].start - _CONTEXT)
    end = min(len(lines), edits[-1].end + _CONTEXT)
    body: list[str] = []
    place = start
    for edit in edits:
        body += [f" {line}" for line in lines[place : edit.start]]
        body += [f"-{line}" for line in lines[edit.start : edit.end]]
        body += [f"+{line}" for line in edit.lines]
        place = edit.end
    body += [f" {line}" for line in lines[place:end]]
    old = end - start
    grown = sum(len(edit.lines) - (edit.end - edit.start) for edit in edits)
    header = f"@@ -{_range(start, old)} +{_range(start + shift, old + grown)} @@"
    return [header, *body], shift + grown


def _range(start: int, count: int) -> str:
    """Write a range as git does: an empty one names the line before it."""
    first = start + 1 if count else start
    return str(first) if count == 1 else f"{first},{count}"


def _list_roots() -> Iterator[Path]:
    paths = sysconfig.get_paths()
    yield Path(paths["purelib"])
    yield Path(paths["stdlib"])
    go, npm = shutil.which("go"), shutil.which("npm")
    candidates = [Path.home() / "go/pkg/mod/github.com", Path("/usr/share/perl5")]
    candidates += [Path(go).resolve().parents[1] / "src"] if go else []
    candidates += [Path(npm).resolve().parents[1] / "node_modules"] if npm else []
    yield from (folder for folder in [*candidates, Path("/usr/include")] if folder.is_dir())


def _list_sources(folder: Path, root: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.suffix in LANGUAGES and "site-packages" not in path.relative_to(root).parts:
            relative = path.relative_to(root).as_posix()
            if len(_read_lines(root, relative)) >= _MIN_LINES:
                yield relative


@cache
def _read_lines(root: Path, path: str) -> tuple[str, ...]:
    """Return the lines of a source; none of a file that is too large or not plain text."""
    place = root / path
    if not place.is_file() or place.stat().st_size > _MAX_BYTES:
        return ()
    try:
        text = place.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ()
    return tuple(text.split("\n")) if text.isprintable() or "\0" not in text else ()


def _make_pull(number: int, projects: Sequence[Project], random: Random) -> PullRequest:
    project = random.choice(projects)
    suffix = random.choice([Path(path).suffix for path in project.paths])
    kin = [path for path in project.paths if path.endswith(suffix)]
    chosen = random.sample(kin, min(len(kin), random.choice(_FILE_COUNTS)))
    files: tuple[ChangedFile, ...] = ()
    # Too small a change, such as a lone bracket, would be the same as another by chance.
    while sum(len(line) for file in files for line in _list_changes(file)) < _MIN_CHANGE:
        files = tuple(_make_file(project, path, kin, random) for path in chosen)
    words = _list_words("\n".join(file.patch for file in files)) or ["code"]
    verb, name = random.choice(_VERBS), random.choice(words)
    title = f"{verb} {name} in {Path(chosen[0]).stem}"
    comments = _list_comments(project.root, chosen[0])
    sentences = random.sample(comments, min(len(comments), random.randint(1, 3)))
    description = " ".join([f"{verb} `{name}`, which {random.choice(words)} needs.", *sentences])
    language = LANGUAGES[suffix]
    return PullRequest(
        id=f"{project.name}/{project.name}#{number}",
        repository=f"{project.name}/{project.name}",
        title=title,
        description=description,
        branch=f"{random.choice(_AUTHORS)}/{name.lower()}",
        language=language,
        merged_at=(_EPOCH + timedelta(minutes=7 * number)).isoformat(),
        license=random.choice(LICENSES),
        author=random.choice(_AUTHORS),
        commit=f"{random.getrandbits(160):040x}",
        languages={language: 1000},
        commits=(title, *(f"Use {random.choice(words)}" for _ in range(random.randint(0, 3)))),
        files=files,
        answers=_make_answers(title, description, files, language, random),
    )


def _make_file(project: Project, path: str, kin: Sequence[str], random: Random) -> ChangedFile:
    lines = _read_lines(project.root, path)
    kind = random.random()
    if kind < 0.06:
        return _make_whole_file(path, lines, random)
    donor = _read_lines(project.root, random.choice(kin))
    places = sorted(
        random.sample(
            range(len(lines) // 12), min(len(lines) // 12, random.choice((1, 1, 2, 2, 3, 5, 8)))
        )
    )
    words = _list_file_words(project.root, path) or ["name"]
    edits = [
        edit for place in places for edit in _make_edits(lines, 12 * place, donor, words, random)
    ]
    patch = make_patch(lines, edits)
    if kind < 0.1:
        moved = str(Path(path).with_name(f"moved_{Path(path).name}"))
        return ChangedFile(path=moved, status="renamed", previous_path=path, patch=patch)
    return ChangedFile(path=path, patch=patch)


def _list_changes(file: ChangedFile) -> list[str]:
    return [line for line in file.patch.split("\n") if line[:1] in {"+", "-"} and line[1:].strip()]


def _make_whole_file(path: str, lines: Sequence[str], random: Random) -> ChangedFile:
    start = random.randrange(len(lines) - 20)
    part = lines[start : start + random.randint(20, 120)]
    if random.random() < 0.7:
        return ChangedFile(path=path, status="added", patch=make_patch((), [_Edit(0, 0, part)]))
    patch = make_patch(part, [_Edit(0, len(part), ())])
    return ChangedFile(path=path, status="removed", patch=patch)


def _make_edits(
    lines: Sequence[str], place: int, donor: Sequence[str], words: Sequence[str], random: Random
) -> Iterator[_Edit]:
    start, length = place + random.randint(0, 2), random.randint(2, 9)
    run = lines[start : start + length]
    kind = random.random()
    if kind < 0.2:
        yield _Edit(start, start + len(run), ())
        return
    inside = _list_words("\n".join(run))
    if kind < 0.5 or not inside:
        first = random.randrange(len(donor) - 12)
        yield _Edit(start, start, donor[first : first + random.choice((3, 6, 9, 12, 24, 48))])
        return
    old = re.compile(rf"\b{random.choice(inside)}\b")
    new = random.choice(words) + random.choice(("", "_2", "s"))
    for number, line in enumerate(run, start):
        if old.search(line):
            yield _Edit(number, number + 1, (old.sub(new, line),))


@cache
def _list_file_words(root: Path, path: str) -> list[str]:
    return _list_words("\n".join(_read_lines(root, path)))


@cache
def _list_comments(root: Path, path: str) -> list[str]:
    return _COMMENT.findall("\n".join(_read_lines(root, path)))


def _list_words(text: str) -> list[str]:
    return sorted(set(_WORD.findall(text)))


def _make_answers(
    title: str, description: str, files: Sequence[ChangedFile], language: str, random: Random
) -> Mapping[Tool, str]:
    notes = [
        {
            "filename": file.path,
            "language": language,
            "changes_summary": f"- Touches {Path(file.path).name}.",
            "changes_title": f"Change {Path(file.path).stem}",
            "label": random.choice(_LABELS),
        }
        for file in files
    ]
    line = random.choice([line for file in files for line in _list_changes(file)])[1:]
    describe = {"type": ["Enhancement"], "pr_files": notes} | {
        "description": description,
        "title": title,
    }
    review = {
        "estimated_effort_to_review_[1-5]": f"{random.randint(1, 5)}, because of {title}.",
        "relevant_tests": random.choice(("Yes", "No")),
        "possible_issues": random.choice(("No", f"`{title}` is not covered by a test.")),
        "security_concerns": "No",
    }
    feedback = {"relevant_file": files[0].path, "suggestion": f"Explain why. {title}."}
    suggestion = {
        "relevant_file": files[0].path,
        "language": language,
        "suggestion_content": f"Name what the line does. {description[:80]}",
        "existing_code": line,
        "improved_code": f"{line}  # explained",
        "one_sentence_summary": title,
        "label": "maintainability",
    }
    return {
        Tool.DESCRIBE: _dump(describe),
        Tool.REVIEW: _dump(
            {"review": review, "code_feedback": [feedback | {"relevant_line": line}]}
        ),
        Tool.IMPROVE: _dump({"code_suggestions": [suggestion]}),
    }


def _dump(answer: Mapping[str, object]) -> str:
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    text: str = yaml.dump(answer, Dumper=dumper, sort_keys=False, allow_unicode=True, width=100_000)
    return text
