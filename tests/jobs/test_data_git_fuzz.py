"""Whatever a history holds, its rows hold the whole change."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_repository import MadeCommit, list_commits, make_repository, quote_path

from tunebench_jobs.data.clean.generated import is_generated
from tunebench_jobs.data.git_source import GitOptions, open_history
from tunebench_jobs.rows import ChangedFile

pytestmark = pytest.mark.jobs

# Lines that a careless parser would take for git's own.
LINES = st.one_of(
    st.sampled_from(
        [
            "",
            "\r",
            "-",
            "+++ b/x",
            "--- a/x",
            "@@ -1,3 +1,3 @@",
            "diff --git a/x b/x",
            "\\ No newline at end of file",
            "Binary files a/x and b/x differ",
            ":100644 100644 a b M\tx",
            "\f\v\u2028\u0085",
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_characters="\0\n"), max_size=8),
)
CONTENTS = st.builds(
    lambda lines, end: ("\n".join(lines) + end).encode(),
    st.lists(LINES, max_size=12),
    st.sampled_from(["", "\n"]),
)
NAMES = st.text("aé 'b\"\\\t+", min_size=1, max_size=4).filter(lambda name: not is_generated(name))
TREES = st.dictionaries(NAMES, CONTENTS, min_size=1, max_size=4)


def build_patch(files: Sequence[ChangedFile]) -> bytes:
    """Return the rows as the patch that `git apply` takes."""
    return "".join(_build_file_patch(file) for file in files).encode()


def _build_file_patch(file: ChangedFile) -> str:
    before = quote_path(f"a/{file.previous_path or file.path}")
    after = quote_path(f"b/{file.path}")
    lines = [f"diff --git {before} {after}"]
    if file.status == "added":
        lines.append("new file mode 100644")
    elif file.status == "removed":
        lines.append("deleted file mode 100644")
    elif file.status == "renamed":
        lines.append("similarity index 50%")
        lines.append(f"rename from {quote_path(file.previous_path or '')}")
        lines.append(f"rename to {quote_path(file.path)}")
    if file.patch:
        lines.append("--- /dev/null" if file.status == "added" else f"--- {before}")
        lines.append("+++ /dev/null" if file.status == "removed" else f"+++ {after}")
        lines.append(file.patch)
    return "\n".join(lines) + "\n"


def apply_patch(path: Path, parent: str, patch: bytes) -> str:
    """Return the name of the tree that `patch` makes of the tree of `parent`."""
    environment = {**os.environ, "GIT_INDEX_FILE": str(path / ".git" / "index.fuzz")}

    def git(*arguments: str, text: bytes = b"") -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=path,
            input=text,
            check=True,
            capture_output=True,
            env=environment,
        )
        return done.stdout.decode().strip()

    git("read-tree", parent)
    git("apply", "--cached", "--whitespace=nowarn", "-", text=patch)
    return git("write-tree")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(TREES, min_size=2, max_size=4))
def test_rows_apply_to_the_parent(trees: list[dict[str, bytes]]) -> None:
    """The patches of a row turn the parent's files into the commit's, byte by byte."""
    with tempfile.TemporaryDirectory() as folder:
        commits = [
            MadeCommit(f"Change number {number}, with words\n\nAnd a body.", tree)
            for number, tree in enumerate(trees)
        ]
        path = make_repository(Path(folder) / "fuzzed", commits)
        history = open_history(str(path), "HEAD", GitOptions(9))
        rows = list(history.read())
        parents = dict(zip(list_commits(path), list_commits(path)[1:], strict=False))
        trees_made = {
            row.pr.commit: apply_patch(path, parents[row.pr.commit], build_patch(row.pr.files))
            for row in rows
            if row.pr.commit in parents
        }
        wanted = {sha: _read_tree(path, sha) for sha in trees_made}

        assert history.facts["commits_seen"] == len(trees)
        assert len(rows) + len(history.dropped) == len(trees)
        assert trees_made == wanted


def _read_tree(path: Path, sha: str) -> str:
    command = ["git", "rev-parse", f"{sha}^{{tree}}"]
    done = subprocess.run(command, cwd=path, check=True, capture_output=True, text=True)
    return done.stdout.strip()
