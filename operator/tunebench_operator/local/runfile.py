"""Reads a run from a YAML file: paths made absolute, and digests of what it points to."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tunebench_api.errors import InvalidRunError, Problem
from tunebench_api.places import (
    SAMPLE_SCHEME,
    is_remote,
    is_url,
    list_matches,
    resolve_sample,
    split_pattern,
)
from tunebench_api.repositories import parse_repository_list, resolve_address
from tunebench_api.unsupported import Backend
from tunebench_api.v1alpha1 import BenchmarkRun
from tunebench_api.validation import parse_run
from tunebench_operator.errors import UserError
from tunebench_operator.graph import git_source_key
from tunebench_operator.local.place import build_environment, fetch_sources
from tunebench_operator.settings import load_settings
from tunebench_operator.yaml_text import parse_yaml

PACKAGE_SCHEME = "package://"
# What etcd takes at most, less what the API server adds.
MAX_RUN_BYTES = 1 << 20
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_GIT_TIMEOUT_SECONDS = 60


def load_run(path: Path) -> BenchmarkRun:
    """Return the run that a file holds; relative paths are made absolute from its folder.

    Raises:
        UserError: The file cannot be read or is no YAML.
        InvalidRunError: A field must change.
    """
    return resolve_paths(parse_file(path, Backend.LOCAL), path.resolve().parent)


def parse_file(path: Path, backend: Backend) -> BenchmarkRun:
    """Return the run that a file holds, as it is written there.

    Raises:
        UserError: The file cannot be read or is no YAML.
        InvalidRunError: A field must change.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_RUN_BYTES + 1)
        text = content.decode()
    except FileNotFoundError as error:
        raise UserError(f"`{path}` must exist; check the path") from error
    except (OSError, UnicodeDecodeError) as error:
        msg = f"`{path}` must be a readable YAML file: {error}"
        raise UserError(msg) from error
    if len(content) > MAX_RUN_BYTES:
        msg = f"`{path}` must have at most {MAX_RUN_BYTES} bytes, as the API server takes no more"
        raise UserError(msg)
    try:
        raw = parse_yaml(text)
    except (yaml.YAMLError, ValueError) as error:
        msg = f"`{path}` must hold one YAML document: {error}"
        raise UserError(msg) from error
    if not isinstance(raw, dict):
        msg = (
            f"`{path}` must be a run, a mapping with `apiVersion`, `kind` and `spec`, got "
            f"{type(raw).__name__}"
        )
        raise UserError(msg)
    return parse_run(raw, backend)


def load_named_run(name: str) -> BenchmarkRun | None:
    """Return the run of a file, or nothing where `name` is that of a run in a store.

    Raises:
        UserError: It can only be a file, and there is none; or as of `load_run`.
        InvalidRunError: As of `load_run`.
    """
    path = Path(name)
    if path.is_file():
        return load_run(path)
    if path.suffix in _SUFFIXES:
        raise UserError(f"file `{name}` must exist; correct the path, or give a run's name")
    return None


def resolve_paths(run: BenchmarkRun, folder: Path) -> BenchmarkRun:
    """Return the run with every relative path made absolute from `folder`.

    Raises:
        InvalidRunError: Names the fields that cannot be paths.
    """
    wire = run.to_wire()
    places = list(_places(wire["spec"]))
    places += [
        (model, "base", f"spec.models[{index}].base")
        for index, model in enumerate(wire["spec"]["models"])
        if model["base"].startswith((".", "/", "file://"))
    ]
    problems = []
    for holder, key, field in places:
        try:
            holder[key] = _absolute(holder[key], folder)
        except (OSError, RuntimeError, ValueError) as error:
            problems.append(Problem(field, f"must be a path, got {holder[key]!r}: {error}"))
    if problems:
        raise InvalidRunError(tuple(problems))
    return BenchmarkRun.from_wire(wire)


def load_source_digests(
    run: BenchmarkRun, prompts_dir: Path, parts: tuple[str, ...] = ("spec.",)
) -> dict[str, str]:
    """Return a digest for everything on this machine that the spec points to, by URI.

    `parts` are the beginnings of the fields that matter: a baseline may be absent while the dataset
    is built that it will be asked about.

    Raises:
        InvalidRunError: A file, folder or repository is absent; names the fields.
        UserError: What lies in a bucket is absent or denied.
        OSError: A bucket's server does not answer.
    """
    wire = run.to_wire()["spec"]
    digests: dict[str, str] = {}
    problems: list[Problem] = []
    places = [place for place in _places(wire) if place[2].startswith(parts)]
    remote = {field: holder[key] for holder, key, field in places if is_remote(holder[key])}
    copies = fetch_sources(remote, build_environment(run.spec.storage))
    for holder, key, field in places:
        if is_url(holder[key]):
            continue
        found = _digest_source(holder, key, field, copies)
        if isinstance(found, Problem):
            problems.append(found)
        else:
            digests[source_key(holder, key)] = found
    builtin = wire["prompts"].get("builtin")
    if builtin:
        digest = _digest_path(prompts_dir / builtin)
        if digest is None:
            have = ", ".join(sorted(each.name for each in prompts_dir.glob("*/")))
            msg = f"must be one of {have}, got {builtin}"
            problems.append(Problem("spec.prompts.builtin", msg))
        else:
            digests[f"builtin:{builtin}"] = digest
    if problems:
        raise InvalidRunError(tuple(problems))
    return digests | (_digest_bases(wire["models"]) if "spec.models".startswith(parts) else {})


def source_key(holder: Mapping[str, Any], key: str) -> str:
    """Return what a source is known by: its place, and of a repository also the ref."""
    if key in {"repository", "list"}:
        return git_source_key(holder[key], holder.get("ref", "HEAD"))
    return str(holder[key])


def _digest_source(
    holder: dict[str, Any], key: str, field: str, copies: Mapping[str, str]
) -> str | Problem:
    """Return a source's digest, or what is wrong with the field that names it."""
    place = holder[key]
    if key == "repository":
        return _digest_git(place, holder.get("ref", "HEAD"), field)
    # Prompt sets and datasets of the hub are folders, data may be, all else is files.
    kinds = {"prompts.uri": "folder", "huggingFace.path": "folder", "completions.uri": "file"}
    kinds |= {"git.list": "file", "eval.decisions": "file"}
    expected = next((kind for end, kind in kinds.items() if field.endswith(end)), "file or folder")
    try:
        path = Path(copies.get(place) or _resolve_sample(place))
        digest = _digest_path(path) if _is_kind(path, expected) else None
        if digest and key == "list":
            return _digest_list(path, holder.get("ref", "HEAD"), field, remote=place in copies)
        if expected == "file or folder" and not path.exists():
            digest = _digest_pattern(path)
    except (OSError, ValueError) as error:
        return Problem(field, f"must name a {expected} that can be read, got {place}: {error}")
    return digest or Problem(field, f"must name a {expected} that exists, got {place}")


def _is_kind(path: Path, expected: str) -> bool:
    return ("folder" in expected and path.is_dir()) or ("file" in expected and path.is_file())


def _resolve_sample(place: str) -> str:
    folder = str(load_settings().samples_dir)
    return resolve_sample(place, folder) if place.startswith(SAMPLE_SCHEME) else place


def _places(spec: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield every field that holds a path: its holder, its key and its name."""
    for split in ("train", "eval"):
        source = spec["dataset"][split]
        if "uri" in source:
            yield source, "uri", f"spec.dataset.{split}.uri"
        for key in ("repository", "list"):
            if key in source.get("git", {}):
                yield source["git"], key, f"spec.dataset.{split}.git.{key}"
        hub = source.get("huggingFace", {"path": ""})
        # Anything else is an id of the hub.
        if hub["path"].startswith((".", "/", "file://")):
            yield hub, "path", f"spec.dataset.{split}.huggingFace.path"
    if "decisions" in spec["dataset"]["eval"]:
        yield spec["dataset"]["eval"], "decisions", "spec.dataset.eval.decisions"
    if "uri" in spec["prompts"]:
        yield spec["prompts"], "uri", "spec.prompts.uri"
    if "completions" in spec["baseline"]:
        yield spec["baseline"]["completions"], "uri", "spec.baseline.completions.uri"


def _absolute(place: str, folder: Path) -> str:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return unquote(parts.path)
    if parts.scheme or place.startswith("git@"):
        return place
    return str((folder / Path(place).expanduser()).resolve())


def _digest_path(path: Path) -> str | None:
    """Return a digest over a file, or over all files of a folder and their names."""
    if path.is_file():
        return _digest_file(path)
    if not path.is_dir():
        return None
    digest = hashlib.sha256()
    for file in sorted(each for each in path.rglob("*") if each.is_file()):
        digest.update(f"{file.relative_to(path)}\0{_digest_file(file)}\n".encode())
    return digest.hexdigest()


def _digest_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest_pattern(pattern: Path) -> str | None:
    """Return a digest over the files that match, and their names."""
    folder, _ = split_pattern(str(pattern))
    files = list_matches(str(pattern))
    lines = [f"{match}\0{_digest_file(Path(folder, match))}\n" for match in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest() if files else None


def _digest_list(path: Path, ref: str, field: str, *, remote: bool) -> str | Problem:
    """Return a digest over the commits that a list names; what must be cloned is an address."""
    lines = []
    for entry in parse_repository_list(path.read_text(encoding="utf-8")):
        address, wanted = resolve_address(entry.address, str(path.parent)), entry.ref or ref
        # A repository that is absent is for the stage to tell, which may go on without it.
        found = address if remote else _digest_git(address, wanted, field)
        lines.append(f"{address}@{wanted}={'' if isinstance(found, Problem) else found}\n")
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _digest_git(place: str, ref: str, field: str) -> str | Problem:
    """Return the commit that `ref` names; a clone URL is its own digest until it is cloned."""
    if "://" in place or place.startswith("git@"):
        return place
    if _ask_git(place, "rev-parse", "--git-dir") is None:
        return Problem(field, f"must name a git repository that exists, got {place}")
    commit = _ask_git(place, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")
    wrong = Problem(field.replace(".repository", ".ref"), f"must name a commit, got {ref}")
    return commit or wrong


def _ask_git(repository: str, *arguments: str) -> str | None:
    """Return what git prints, or nothing where it fails."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed program, no shell
            ["git", "-C", repository, *arguments],  # noqa: S607 - wherever git is installed
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        msg = f"`git` must be installed and answer to read `{repository}`: {error}"
        raise UserError(msg) from error
    return done.stdout.strip() if done.returncode == 0 else None


def _digest_bases(models: list[dict[str, Any]]) -> dict[str, str]:
    """Return fingerprints of local bases: names, sizes and times of their files.

    The content is not read, because weights have gigabytes; the jobs check it where it counts.
    """
    places = {model["base"] for model in models}
    found = {place: _base_folder(place) for place in places}
    return {place: _fingerprint(folder) for place, folder in found.items() if folder}


def _base_folder(place: str) -> Path | None:
    if place.startswith(PACKAGE_SCHEME):
        package = place.removeprefix(PACKAGE_SCHEME).split("/")[0]
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        return Path(spec.origin).parent if spec and spec.origin else None
    folder = Path(place)
    # A hub id is no folder, though the working directory may have one of that name.
    return folder if folder.is_absolute() and folder.is_dir() else None


def _fingerprint(folder: Path) -> str:
    lines = [
        f"{file.relative_to(folder)}\0{file.stat().st_size}\0{file.stat().st_mtime_ns}"
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.suffix != ".pyc"
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
