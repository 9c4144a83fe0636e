"""`tunebench dataset curate`: serve the page until it is interrupted."""

from __future__ import annotations

import argparse
import errno
import getpass
import json
import logging
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from tunebench_jobs.curate.candidates import load_candidates
from tunebench_jobs.curate.decision_file import DecisionFile
from tunebench_jobs.curate.desk import Desk
from tunebench_jobs.data.decisions import MAX_NAME, Choice
from tunebench_jobs.errors import InputError, RetryableError
from tunebench_jobs.failures import run_tool
from tunebench_jobs.files import disk_errors

if TYPE_CHECKING:
    import uvicorn

logger = logging.getLogger(__name__)

# Nobody else's machine can reach this address.
_HOST = "127.0.0.1"


def main(arguments: Sequence[str]) -> int:
    """Serve the page and return the exit code."""
    options = _build_parser().parse_args(arguments)

    def curate() -> None:
        # Without a name, so that it goes with the process, however that ends.
        with (
            disk_errors(Path(tempfile.gettempdir())),
            tempfile.TemporaryFile(prefix="tunebench-") as spool,
        ):
            _curate(options, spool)

    return run_tool(curate, options.output)


def _curate(options: argparse.Namespace, spool: IO[bytes]) -> None:
    candidates = load_candidates(
        options.candidates, spool, per_tool=options.per_tool, seed=options.seed
    )
    file = _open_decisions(options.decisions)
    if len(options.by) > MAX_NAME:
        msg = f"`--by` must have at most {MAX_NAME} characters, got {len(options.by)}"
        raise InputError(msg)
    desk = Desk(candidates, file, by=options.by or _find_name(), clock=_tell_time)
    for conflict in file.conflicts:
        logger.warning("%s", conflict)
    with _listen(options.port) as listener:
        port, token = listener.getsockname()[1], secrets.token_urlsafe(24)
        server = _build_server(desk, port, token)
        url = f"http://{_HOST}:{port}/{token}/"
        _say_address(url, len(candidates.items), options.output)
        if options.open:
            webbrowser.open(url)
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            # How uvicorn ends, after it has answered what it was asked.
            logger.info("interrupted; every decision is saved")
    made = desk.count()
    logger.info(
        "%d accepted, %d rejected in %s", made[Choice.ACCEPTED], made[Choice.REJECTED], file.path
    )


def _build_server(desk: Desk, port: int, token: str) -> uvicorn.Server:
    # Only here, because they take half a second to import, and mistakes are told before.
    import uvicorn  # noqa: PLC0415

    from tunebench_jobs.curate.app import build_app  # noqa: PLC0415

    config = uvicorn.Config(
        build_app(desk, port=port, token=token),
        lifespan="off",
        ws="none",
        # A log of requests would tell the token.
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    return uvicorn.Server(config)


def _open_decisions(path: Path) -> DecisionFile:
    try:
        file = DecisionFile(path)
        file.load()
    except OSError as error:
        msg = f"`--decisions` must be a file that can be read and written, got `{path}`: {error}"
        raise InputError(msg) from error
    if not os.access(file.path.parent, os.W_OK):
        msg = f"`--decisions` must lie in a folder that can be written to, got `{path}`"
        raise InputError(msg)
    return file


def _listen(port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        # From here on a browser may come, though it is answered a moment later.
        listener.listen()
    except OSError as error:
        listener.close()
        msg = f"`--port` must be free and allowed, got {port}: {error}; leave it out to get another"
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            raise InputError(msg) from error
        raise RetryableError(msg) from error
    return listener


def _say_address(url: str, count: int, output: str) -> None:
    if output == "json":
        text = json.dumps({"url": url, "candidates": count})
    else:
        text = f"{count} candidates at {url}\nevery decision is saved at once; Ctrl-C ends"
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _find_name() -> str:
    """Return who decides: the name that git signs with, else the login."""
    try:
        done = subprocess.run(
            ["git", "config", "user.name"],  # noqa: S607 - wherever git is installed
            capture_output=True,
            check=False,
        )
        name = done.stdout.decode(errors="replace").strip()
        return name[:MAX_NAME] or getpass.getuser()
    # Neither git nor an entry for this user need exist.
    except (OSError, KeyError):
        return ""


def _tell_time() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench dataset curate", description=__doc__)
    parser.add_argument("candidates", type=Path, help="file of pull requests, or folder of a build")
    parser.add_argument("--decisions", type=Path, required=True, help="JSONL file to keep them in")
    parser.add_argument("--per-tool", type=int, default=100, help="pull requests that are wanted")
    parser.add_argument("--seed", type=int, default=1, help="order of candidates that are alike")
    parser.add_argument("--by", default="", help="name to sign decisions with")
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser
