"""A real S3 server on this machine, with a bucket in a folder."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

BUCKET = "bench"
KEY, SECRET = "tunebench", "not-a-secret"
_PROGRAM = Path(__file__).parents[2] / ".tools" / "versitygw"
_START_SECONDS = 30


@dataclass
class BucketServer:
    """One server; its objects are files of `folder`."""

    folder: Path
    port: int
    address: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_REGION": "us-east-1",
        }

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://{self.address}:{self.port}"

    @property
    def bucket(self) -> Path:
        """Folder with the bucket's objects."""
        return self.folder / "objects" / BUCKET

    def list_keys(self, prefix: str = "") -> set[str]:
        """Return the keys of the bucket."""
        found = {
            path.relative_to(self.bucket).as_posix()
            for path in self.bucket.rglob("*")
            if path.is_file()
        }
        return {key for key in found if key.startswith(prefix) and not key.startswith(".sgw")}

    def start(self, *, largest: int | None = None) -> None:
        """Start the server; `largest` bytes is what it can write to one file, as on a full disk."""
        self.bucket.mkdir(parents=True, exist_ok=True)
        attributes = self.folder / "attributes"
        attributes.mkdir(exist_ok=True)
        command = [str(find_server()), "--port", f"{self.address}:{self.port}", "--quiet"]
        command += ["posix", "--sidecar", str(attributes), str(self.folder / "objects")]
        if largest is not None:
            command = ["prlimit", f"--fsize={largest}", *command]
        self.process = subprocess.Popen(
            command,
            env={**os.environ, "ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not _answers(self.address, self.port):
            assert time.monotonic() < deadline, "the S3 server must start"
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server; its objects stay."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None


def find_server() -> Path:
    """Return the program; without it the test is skipped, and fails in CI."""
    found = str(_PROGRAM) if _PROGRAM.exists() else shutil.which("versitygw")
    if found is None and os.environ.get("CI"):
        pytest.fail("the S3 server must be built; run `make jobs`")
    if found is None:
        pytest.skip("the S3 server is not built; run `make jobs`")
    return Path(found)


@contextmanager
def running_server(folder: Path, address: str = "127.0.0.1") -> Iterator[BucketServer]:
    """Run a server, and leave none behind."""
    server = BucketServer(folder, _find_port(address), address)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def leading_to_server(folder: Path, environment: pytest.MonkeyPatch) -> Iterator[BucketServer]:
    """Run a server that this environment leads to, with a cache of its own."""
    with running_server(folder / "server") as running:
        for name, value in running.environment.items():
            environment.setenv(name, value)
        environment.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield running


def _find_port(address: str) -> int:
    with socket.socket() as holder:
        holder.bind((address, 0))
        return int(holder.getsockname()[1])


def _answers(address: str, port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((address, port)) == 0
