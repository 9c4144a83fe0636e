"""Open or clone a git repository and run git in it, trusting neither its name nor its settings."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tunebench_jobs.errors import InputError, RetryableError

# Settings of the repository or the user that would run programs or change the text of a diff.
_OVERRIDES = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.pager=cat",
    "core.quotePath=false",
    "core.attributesFile=/dev/null",
    # Attributes of the checkout must not decide: a clone of the same commits has none.
    "core.bare=true",
    # A file of this size is no text to review, and git would take seconds for it.
    "core.bigFileThreshold=4m",
    "color.ui=false",
    "diff.suppressBlankEmpty=false",
    "log.showSignature=false",
    "log.showRoot=true",
    "protocol.ext.allow=never",
)
# The user's own ways to reach and trust a server; every other GIT_* variable is dropped.
_KEPT_VARIABLES = frozenset(
    {
        "GIT_CONFIG_GLOBAL",
        "GIT_CONFIG_SYSTEM",
        "GIT_CONFIG_NOSYSTEM",
        "GIT_SSH",
        "GIT_SSH_COMMAND",
        "GIT_SSL_CAINFO",
    }
)
_CLONE_URL = re.compile(r"^(https?|ssh|git|file)://|^[\w.-]+@[\w.-]+:(?!//)")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_FULL_SHA = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
# What git says when a server does not answer; everything else is for the user to mend.
_TRANSIENT = re.compile(
    r"could not resolve host|timed out|connection (refused|reset)|(could ?n.t|failed to) connect"
    r"|HTTP 5\d\d|error: 5\d\d|early EOF|unexpected disconnect",
    re.IGNORECASE,
)
_HEAD = re.compile(r"^ref: (?P<branch>refs/heads/\S+)\tHEAD$", re.MULTILINE)
_CLONE_TIMEOUT_SECONDS = 3600
_SHORT_TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class GitRepository:
    """A repository that git can read; `shown` is how the user named it, without credentials."""

    git_dir: Path
    shown: str
    # `owner/name` where the address has both, else the folder's name.
    name: str
    branch: str
    # Address that it was cloned from, without credentials; empty where it was not.
    origin: str = ""

    def read(self, *arguments: str) -> str:
        """Return what a short git command prints.

        Raises:
            InputError: Git refuses it.
        """
        done = _run(("--git-dir", str(self.git_dir), *arguments), _SHORT_TIMEOUT_SECONDS)
        if done.returncode:
            msg = f"git could not read repository `{self.shown}`: {_build_reason(done)}"
            raise InputError(msg, reason="BrokenRepository")
        return done.stdout.decode(errors="replace").strip()

    @contextmanager
    def stream(self, *arguments: str, stdin: IO[bytes] | None = None) -> Iterator[IO[bytes]]:
        """Yield the standard output of a git command while it runs.

        Raises:
            InputError: It failed after all was read.
        """
        with self._start(arguments, stdin or subprocess.DEVNULL) as process:
            assert process.stdout is not None  # noqa: S101 - it was asked for
            yield process.stdout

    @contextmanager
    def converse(self, *arguments: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Yield standard input and output of a git command that answers what it is asked.

        Raises:
            InputError: It failed after all was asked.
        """
        with self._start(arguments, subprocess.PIPE) as process:
            assert process.stdin is not None  # noqa: S101 - it was asked for
            assert process.stdout is not None  # noqa: S101 - likewise
            yield process.stdin, process.stdout
            process.stdin.close()

    @contextmanager
    def _start(
        self, arguments: Sequence[str], stdin: IO[bytes] | int
    ) -> Iterator[subprocess.Popen[bytes]]:
        command = _build_command("--git-dir", str(self.git_dir), *arguments)
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(  # noqa: S603 - no shell; every argument is ours or checked
                command,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=build_environment(os.environ),
            ) as process,
        ):
            try:
                yield process
            except BaseException:
                process.kill()
                raise
            if process.wait():
                errors.seek(0)
                said = redact_url(errors.read(2000).decode(errors="replace").strip())
                msg = f"git could not read the history of `{self.shown}`: {said}"
                raise InputError(msg, reason="BrokenRepository")


def open_repository(address: str, *, clones: Path | None) -> GitRepository:
    """Return the repository at a path, or a bare clone of a URL below `clones`.

    Raises:
        InputError: It is no repository, or not one whose whole history is here.
        RetryableError: Its server does not answer.
    """
    _check_argument(address, "repository")
    if _CLONE_URL.match(address):
        if clones is None:
            msg = f"`repository` must be a folder here, got `{redact_url(address)}`; clone it first"
            raise InputError(msg, reason="InvalidSource")
        git_dir = _clone(address, clones)
    else:
        git_dir = _find_git_dir(address)
    return _check_repository(git_dir, address)


def resolve_commit(repository: GitRepository, ref: str) -> str:
    """Return the full name of the commit that `ref` names.

    Raises:
        InputError: There is no such commit.
    """
    _check_argument(ref, "ref")
    git = ("--git-dir", str(repository.git_dir), "rev-parse", "--verify", "--quiet")
    # --end-of-options alone would be printed too by older versions of git.
    done = _run((*git, f"{ref}^{{commit}}"), _SHORT_TIMEOUT_SECONDS)
    sha = done.stdout.decode(errors="replace").strip()
    if done.returncode or not _FULL_SHA.fullmatch(sha):
        msg = f"`ref` must name a commit of `{repository.shown}`, got `{ref}`; see `git branch -a`"
        raise InputError(msg, reason="RefNotFound")
    return sha


def redact_url(text: str) -> str:
    """Return `text` without the user names and passwords of the URLs in it."""
    return _CREDENTIALS.sub("", text)


def build_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which git asks nobody anything and obeys no GIT_* of a caller."""
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith("GIT_") or name in _KEPT_VARIABLES
    }
    kept.setdefault("GIT_SSH_COMMAND", "ssh -oBatchMode=yes")
    return kept | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    }


def build_repository_name(address: str) -> str:
    """Return `owner/name` of a URL, or the last part of a path."""
    path = address.rstrip("/").removesuffix(".git").rstrip("/")
    remote = re.match(r"^(?:https?|ssh|git)://[^/]+/(.+)$|^[^/:]+@[^/:]+:(.+)$", path)
    if remote:
        return "/".join((remote[1] or remote[2]).strip("/").split("/")[-2:])
    return path.rsplit("/", 1)[-1] or "repository"


def _find_git_dir(address: str) -> Path:
    folder = Path(address)
    if not folder.is_dir():
        msg = f"`repository` must be an existing folder or a clone URL, got `{address}`"
        raise InputError(msg, reason="RepositoryNotFound")
    done = _run(("-C", str(folder.resolve()), "rev-parse", "--absolute-git-dir"), plain=True)
    if done.returncode:
        msg = f"`repository` must be a git repository, got `{address}`: {_build_reason(done)}"
        raise InputError(msg, reason="RepositoryNotFound")
    return Path(os.fsdecode(done.stdout.rstrip(b"\n")))


def _check_repository(git_dir: Path, address: str) -> GitRepository:
    shown = redact_url(address)
    bare = GitRepository(git_dir, shown, name="", branch="")
    if bare.read("rev-parse", "--is-shallow-repository") == "true":
        msg = (
            f"`repository` must hold its whole history, but `{shown}` is a shallow clone; "
            "run `git fetch --unshallow` in it"
        )
        raise InputError(msg, reason="ShallowRepository")
    if not bare.read("rev-list", "--all", "--max-count=1") and not _has_head(git_dir):
        msg = f"`repository` must have commits, but `{shown}` is empty"
        raise InputError(msg, reason="EmptyRepository")
    origin = _read_optional(git_dir, "config", "--get", "remote.origin.url")
    is_url = bool(_CLONE_URL.match(origin)) and not origin.startswith("file:")
    folder = str(Path(address).resolve()) if not _CLONE_URL.match(address) else address
    branch = _read_optional(git_dir, "symbolic-ref", "--quiet", "--short", "HEAD")
    name = build_repository_name(origin if is_url else folder)
    return GitRepository(
        git_dir, shown, name=name, branch=branch, origin=redact_url(origin) if is_url else ""
    )


def _has_head(git_dir: Path) -> bool:
    return bool(_read_optional(git_dir, "rev-parse", "--verify", "--quiet", "HEAD"))


def _read_optional(git_dir: Path, *arguments: str) -> str:
    """Return what git prints, or nothing where it has no answer."""
    done = _run(("--git-dir", str(git_dir), *arguments))
    return "" if done.returncode else done.stdout.decode(errors="replace").strip()


def _clone(url: str, clones: Path) -> Path:
    """Clone, or bring an earlier clone up to date."""
    clones.mkdir(parents=True, exist_ok=True)
    git_dir = clones / hashlib.sha256(url.encode()).hexdigest()[:16]
    with git_dir.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if git_dir.is_dir() and _fetch(git_dir, url):
            return git_dir
        unfinished = git_dir.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        clone = ("clone", "--bare", "--quiet", "--template=", "--", url, str(unfinished))
        _check_transfer(_run(clone, _CLONE_TIMEOUT_SECONDS), url)
        shutil.rmtree(git_dir, ignore_errors=True)
        unfinished.rename(git_dir)
    return git_dir


def _fetch(git_dir: Path, url: str) -> bool:
    """Bring a clone up to date; false where it is of no use, such as after a killed fetch."""
    refs = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    fetch = ("fetch", "--quiet", "--prune", "--no-recurse-submodules", "origin", *refs)
    done = _run(("--git-dir", str(git_dir), *fetch), _CLONE_TIMEOUT_SECONDS)
    if done.returncode:
        _check_server(done, url)
        return False
    # A fetch leaves HEAD at the branch that was the main one when it was cloned.
    head = _HEAD.search(_read_optional(git_dir, "ls-remote", "--symref", "origin", "HEAD"))
    return (
        not head
        or not _run(("--git-dir", str(git_dir), "symbolic-ref", "HEAD", head["branch"])).returncode
    )


def _check_server(done: subprocess.CompletedProcess[bytes], url: str) -> None:
    """Refuse to go on where the server is away."""
    reason = _build_reason(done)
    if _TRANSIENT.search(reason):
        msg = f"git could not clone `{redact_url(url)}`: {reason}"
        raise RetryableError(msg, reason="RepositoryUnavailable")


def _check_transfer(done: subprocess.CompletedProcess[bytes], url: str) -> None:
    if not done.returncode:
        return
    _check_server(done, url)
    reason = _build_reason(done)
    msg = f"git could not clone `{redact_url(url)}`: {reason}"
    raise InputError(f"{msg}; check the URL and your access to it", reason="RepositoryNotFound")


def _check_argument(value: str, field: str) -> None:
    """Refuse what git would take for an option or cannot be in a command line."""
    if value.startswith("-") or not value or any(ord(char) < 0x20 for char in value):  # noqa: PLR2004 - control characters
        msg = (
            f"`{field}` must not be empty, begin with `-` or hold control characters, got {value!r}"
        )
        raise InputError(msg, reason="InvalidSource")


def _run(
    arguments: Sequence[str], timeout: float = _SHORT_TIMEOUT_SECONDS, *, plain: bool = False
) -> subprocess.CompletedProcess[bytes]:
    """Run git to its end; `plain` leaves the repository's own settings in force."""
    command = ("git", *arguments) if plain else _build_command(*arguments)
    try:
        return subprocess.run(  # noqa: S603 - no shell; every argument is ours or checked
            command,
            capture_output=True,
            check=False,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env=build_environment(os.environ),
        )
    except FileNotFoundError as error:
        msg = "the program `git` must be installed to read a git source"
        raise InputError(msg, reason="GitNotInstalled") from error
    except subprocess.TimeoutExpired as error:
        msg = f"git gave no answer in {timeout:.0f} s"
        raise RetryableError(msg, reason="RepositoryUnavailable") from error


def _build_command(*arguments: str) -> list[str]:
    overrides = [part for setting in _OVERRIDES for part in ("-c", setting)]
    return ["git", "--no-pager", *overrides, *arguments]


def _build_reason(done: subprocess.CompletedProcess[bytes]) -> str:
    text = " ".join(redact_url(done.stderr.decode(errors="replace")).split())
    return text[:500] or f"exit code {done.returncode}"
