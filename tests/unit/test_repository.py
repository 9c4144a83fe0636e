"""What no linter guards: the layout, sizes, and what must not get into a file."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
MAX_FUNCTION_LINES = 60
MAX_MODULE_LINES = 500
MACHINE_PATH = re.compile(r"(?<![\w.$}~-])/(?:work|root|home)/\w")


def list_files(*patterns: str) -> list[Path]:
    """Return the files that git holds, or would hold after `git add`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns]
    listed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True)
    paths = (REPOSITORY / name for name in sorted(set(listed.stdout.split("\0"))) if name)
    return [path for path in paths if path.is_file()]


def load_text(path: Path) -> str:
    """Return a file's text, empty for one that is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def find_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Yield the functions of a module with their lengths in lines."""
    for node in ast.walk(ast.parse(load_text(path))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            yield f"{path.relative_to(REPOSITORY)}:{node.name}", node.end_lineno - node.lineno + 1


def load_requirements() -> list[str]:
    """Return the names of the direct dependencies."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    entries = [entry for group in groups for entry in group if isinstance(entry, str)]
    return sorted({re.split(r"[^\w.-]", entry)[0] for entry in entries})


def load_pinned(name: str) -> dict[str, str]:
    """Return package -> version with its hashes and markers, of one list in requirements/."""
    text = (REPOSITORY / "requirements" / name).read_text(encoding="utf-8")
    entries = re.findall(r"^([\w.-]+)==((?:.*\\\n)+.*)", text, flags=re.MULTILINE)
    return dict(entries)


def test_no_setting_loosens_the_lock() -> None:
    """Uv applies overrides to a locked list too: the next release of that package breaks it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert "override-dependencies" not in project["tool"]["uv"]


@pytest.mark.parametrize("folder", ["operator", "jobs"])
def test_folder_is_no_package(folder: str) -> None:
    """A module directly in `operator/` would hide the standard library's from every Python."""
    assert list((REPOSITORY / folder).glob("*.py")) == []


def test_standard_library_is_found_from_the_root() -> None:
    """`python` started in the repository finds the true `operator`."""
    code = "import operator; print(operator.add(1, 2))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )

    assert done.stdout == "3\n"


def test_no_paths_of_a_machine() -> None:
    """What one machine calls its folders means nothing on another."""
    found = {
        str(path.relative_to(REPOSITORY)): match[0]
        for path in list_files()
        if (match := MACHINE_PATH.search(load_text(path)))
    }

    assert found == {}


@pytest.mark.parametrize("name", ["all.txt", "build.txt", "jobs.txt", "operator.txt", "uv.txt"])
def test_pinned_requirements_name_no_index(name: str) -> None:
    """Everything is pinned by hash, and no address of an index is recorded."""
    text = (REPOSITORY / "requirements" / name).read_text(encoding="utf-8")
    pinned = re.findall(r"^(\S+==\S+).*\\\n    --hash=sha256:", text, flags=re.MULTILINE)

    assert "://" not in text
    assert "--index" not in text
    assert len(pinned) == len(re.findall(r"^\w", text, flags=re.MULTILINE)) > 0


@pytest.mark.parametrize("name", ["build.txt", "jobs.txt", "operator.txt"])
def test_images_have_the_tested_versions(name: str) -> None:
    """What an image installs is what the tests ran with, to the byte."""
    everything, part = load_pinned("all.txt"), load_pinned(name)

    assert {package for package, pin in part.items() if everything.get(package) != pin} == set()
    assert len(part) > 5


@pytest.mark.parametrize(
    ("name", "foreign"), [("jobs.txt", "kopf"), ("operator.txt", "torch"), ("operator.txt", "ray")]
)
def test_an_image_has_no_part_of_the_other(name: str, foreign: str) -> None:
    """The operator computes nothing, and the jobs steer nothing."""
    assert foreign not in load_pinned(name)
    assert foreign in load_pinned("all.txt")


def test_every_dependency_is_pinned() -> None:
    """The pinned list is that of pyproject.toml; `make lock` writes it."""
    text = (REPOSITORY / "requirements" / "all.txt").read_text(encoding="utf-8")

    assert [name for name in load_requirements() if f"\n{name}==" not in f"\n{text}"] == []


def test_every_dependency_has_a_reason() -> None:
    """A direct dependency stands in a table of docs/adr/."""
    records = "\n".join(load_text(path) for path in list_files("docs/adr/*.md"))
    rows = re.findall(r"^\| ([^|]+) \|", records, flags=re.MULTILINE)
    explained = {name.strip() for row in rows for name in re.sub(r"\[.*?\]", "", row).split(",")}

    assert [name for name in load_requirements() if name not in explained] == []


def test_functions_stay_short() -> None:
    """No function is longer than 60 lines."""
    modules = list_files("operator/*.py", "jobs/*.py", "tests/*.py")
    lengths = dict(pair for path in modules for pair in find_functions(path))

    assert {name: size for name, size in lengths.items() if size > MAX_FUNCTION_LINES} == {}
    assert len(lengths) > 100


def test_modules_stay_short() -> None:
    """No module is longer than 500 lines."""
    modules = list_files("operator/*.py", "jobs/*.py", "tests/*.py")
    lengths = {str(path.relative_to(REPOSITORY)): load_text(path).count("\n") for path in modules}

    assert {name: size for name, size in lengths.items() if size > MAX_MODULE_LINES} == {}


def test_links_in_documents_lead_somewhere() -> None:
    """A relative link of a document names a file that exists."""
    broken = [
        f"{path.relative_to(REPOSITORY)}: {target}"
        for path in list_files("*.md")
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", load_text(path))
        if not (path.parent / target).exists()
    ]

    assert broken == []


def test_programs_are_executable() -> None:
    """What CI starts may be started."""
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & 0o111
