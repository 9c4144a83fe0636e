"""A stand-in for the public base image, made of Debian's packages where no registry is reached."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Protocol

SUITE = "bookworm"
PACKAGES = "ca-certificates,python3,python3-pip,python3-venv"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class RunBuildah(Protocol):
    """Runs one command of buildah."""

    def __call__(self, *arguments: str, stdout: int | None = None) -> str:
        """Return what it prints, if `stdout` is a pipe."""


def build_base(buildah: RunBuildah, image: str) -> None:
    """Make the image from the mirror that the machine's apt uses."""
    container = buildah("from", "scratch", stdout=subprocess.PIPE)
    try:
        root = Path(buildah("mount", container, stdout=subprocess.PIPE))
        subprocess.run(
            [
                "debootstrap",
                "--variant=minbase",
                f"--include={PACKAGES}",
                SUITE,
                root,
                find_mirror(),
            ],
            check=True,
            stdout=sys.stderr.fileno(),
        )
        for leftover in (
            *root.glob("var/cache/apt/archives/*.deb"),
            *root.glob("var/lib/apt/lists/*_*"),
        ):
            leftover.unlink()
        buildah("umount", container, stdout=subprocess.PIPE)
        buildah("config", "--env", f"PATH={PATH}", "--cmd", "bash", container)
        buildah("commit", "--quiet", "--format", "docker", container, image, stdout=subprocess.PIPE)
    finally:
        buildah("rm", container, stdout=subprocess.PIPE)


def find_mirror() -> str:
    """Return the mirror of the machine's apt, or nothing for debootstrap's own."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"],
        check=False,
        capture_output=True,
        text=True,
    )
    pairs = [line.split() for line in done.stdout.splitlines()]
    return next((address for address, suite in pairs if suite == SUITE), "")
