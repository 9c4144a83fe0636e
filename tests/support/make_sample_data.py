"""Make the JSONL files of the sample data from their readable sources, with real `git diff` hunks.

Run it after editing a source. With `--check` it writes nothing and exits 1 when a committed file
differs from its sources.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import yaml

DATA = Path(__file__).parents[2] / "manifests" / "samples" / "data"
SPLITS = {"train": "prs-train.jsonl", "eval": "prs-eval.jsonl"}
BASELINE = "baseline.jsonl"
TOOLS = ("Describe", "Review", "Improve")
LICENSE = "Apache-2.0"

# One layout for all answers, because a small model learns a regular one faster: code stands in
# block scalars, prose in double quotes, and these names stand bare.
CODE_KEYS = frozenset({"existing_code", "improved_code"})
BARE_KEYS = frozenset({"type", "filename", "relevant_file", "language", "label"})

STATUS = {"A": "added", "M": "modified", "D": "removed", "R": "renamed"}
# The user's git settings must not reach the hunks.
GIT_SETTINGS = {
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "sample",
    "GIT_AUTHOR_EMAIL": "sample@example.invalid",
    "GIT_COMMITTER_NAME": "sample",
    "GIT_COMMITTER_EMAIL": "sample@example.invalid",
    "LC_ALL": "C",
}
DIFF = ("diff", "--no-color", "--no-ext-diff", "--diff-algorithm=myers", "-U3", "-M")


class SourceError(ValueError):
    """A source file contradicts itself; its author must edit it."""


def render_answer(answer: dict[str, Any]) -> str:
    """Render an answer as YAML in the one layout of the sample data."""
    return "\n".join(_render_mapping(answer)) + "\n"


def place_suggestions(answer: dict[str, Any], after: dict[str, str]) -> dict[str, Any]:
    """Add to each suggestion the lines at which its existing code stands in the new file.

    Raises:
        SourceError: The code stands nowhere, or in more than one place.
    """
    placed = []
    for suggestion in answer["code_suggestions"]:
        path, code = suggestion["relevant_file"], suggestion["existing_code"].splitlines()
        starts = _find_lines(code, after[path].splitlines())
        if len(starts) != 1:
            msg = f"`existing_code` must stand once in {path}, got {len(starts)} places: {code}"
            raise SourceError(msg)
        lines = {
            "relevant_lines_start": starts[0],
            "relevant_lines_end": starts[0] + len(code) - 1,
        }
        # The schema has the label behind the line numbers.
        rest = {key: value for key, value in suggestion.items() if key != "label"}
        placed.append({**rest, **lines, "label": suggestion["label"]})
    return {"code_suggestions": placed}


def build_answers(source: dict[str, Any]) -> dict[str, str]:
    """Build the answer texts of one pull request, one for each tool."""
    after = {file["path"]: file.get("after", "") for file in source["files"]}
    answers = dict(source["answers"])
    answers["Improve"] = place_suggestions(answers["Improve"], after)
    return {tool: render_answer(answers[tool]) for tool in TOOLS}


def build_row(source: dict[str, Any], files: list[dict[str, Any]]) -> dict[str, Any]:
    """Build the JSONL row of one pull request."""
    return {
        "id": source["id"],
        "repository": source["id"].partition("#")[0],
        "title": source["title"],
        "description": source["description"],
        "branch": source["branch"],
        "language": source["language"],
        "merged_at": source["merged_at"],
        "license": LICENSE,
        "commits": source["commits"],
        "files": files,
        "answers": build_answers(source),
    }


def load_sources(split: str) -> list[dict[str, Any]]:
    """Load the pull requests of a split, oldest first."""
    paths = (DATA / "sources" / split).glob("*.yaml")
    sources = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths]
    return sorted(sources, key=lambda source: (source["merged_at"], source["id"]))


def load_diff(source: dict[str, Any]) -> list[dict[str, Any]]:
    """Commit the old and the new files in a throw-away repository and read git's diff."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _git(folder, "init", "--quiet")
        _save_files(folder, source["files"], side="before")
        _commit(folder, "before")
        for file in source["files"]:
            (folder / file.get("previous_path", file["path"])).unlink(missing_ok=True)
        _save_files(folder, source["files"], side="after")
        _commit(folder, "after")
        names = _git(folder, *DIFF, "--name-status", "HEAD~1", "HEAD")
        return [_load_file_diff(folder, line.split("\t")) for line in names.splitlines()]


def make_files() -> dict[str, str]:
    """Make the text of every JSONL file, by file name."""
    sources = {split: load_sources(split) for split in SPLITS}
    texts = {
        name: _to_jsonl([build_row(source, load_diff(source)) for source in sources[split]])
        for split, name in SPLITS.items()
    }
    texts[BASELINE] = _to_jsonl(
        [
            {"pr": source["id"], "tool": tool, "completion": source["baseline"][tool]}
            for source in sources["eval"]
            for tool in TOOLS
        ]
    )
    return texts


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or with `--check` name those that differ from their sources."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, exit 1 if stale")
    check = parser.parse_args(arguments).check
    stale = [(DATA / name, text) for name, text in make_files().items() if _differs(name, text)]
    for path, text in stale:
        if check:
            sys.stderr.write(
                f"{path.name} must agree with its sources: run {Path(__file__).name}\n"
            )
        else:
            path.write_text(text, encoding="utf-8")
    return int(check and bool(stale))


def _render_mapping(mapping: dict[str, Any]) -> list[str]:
    return [line for key, value in mapping.items() for line in _render_entry(key, value)]


def _render_entry(key: str, value: Any) -> list[str]:
    if isinstance(value, dict):
        return [f"{key}:", *(f"  {line}" for line in _render_mapping(value))]
    if isinstance(value, list):
        return [f"{key}:", *(line for item in value for line in _render_item(key, item))]
    if key in CODE_KEYS:
        return [f"{key}: |", *(f"  {line}" if line else "" for line in value.splitlines())]
    return [f"{key}: {_render_scalar(key, value)}"]


def _render_item(key: str, item: Any) -> list[str]:
    if not isinstance(item, dict):
        return [f"- {_render_scalar(key, item)}"]
    first, *rest = _render_mapping(item)
    return [f"- {first}", *(f"  {line}" if line else "" for line in rest)]


def _render_scalar(key: str, value: str | int) -> str:
    if isinstance(value, int) or key in BARE_KEYS:
        return str(value)
    # A tab is legal inside quotes, and the line then reads as it does in the diff.
    return json.dumps(value, ensure_ascii=False).replace("\\t", "\t")


def _find_lines(code: list[str], lines: list[str]) -> list[int]:
    """Find the numbers of the lines where the code starts, whatever its indentation."""
    wanted = textwrap.dedent("\n".join(code))
    last = len(lines) - len(code) + 1
    windows = ("\n".join(lines[start : start + len(code)]) for start in range(last))
    return [at for at, window in enumerate(windows, start=1) if textwrap.dedent(window) == wanted]


def _save_files(folder: Path, files: list[dict[str, Any]], *, side: str) -> None:
    for file in files:
        if side not in file:
            continue
        path = file.get("previous_path", file["path"]) if side == "before" else file["path"]
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(file[side], encoding="utf-8")


def _load_file_diff(folder: Path, status: list[str]) -> dict[str, Any]:
    letter, *paths = status
    text = _git(folder, *DIFF, "HEAD~1", "HEAD", "--", *paths)
    hunks = text[text.index("\n@@ ") + 1 :]
    return {
        "path": paths[-1],
        "status": STATUS[letter[0]],
        "previous_path": paths[0] if letter.startswith("R") else None,
        "patch": hunks.removesuffix("\n"),
    }


def _commit(folder: Path, message: str) -> None:
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", message)


def _git(folder: Path, *arguments: str) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), **GIT_SETTINGS}
    command = ["git", *arguments]
    done = subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True)
    return done.stdout.decode("utf-8")


def _differs(name: str, text: str) -> bool:
    path = DATA / name
    return not path.exists() or path.read_text(encoding="utf-8") != text


def _to_jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
