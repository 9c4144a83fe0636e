"""Runs a command in an image as strictly as the chart's pods do: runc, read-only, no network."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from images import Builder


@dataclass(frozen=True)
class ImageBox:
    """An image's files and what its author says of it."""

    root: Path
    description: dict[str, Any]

    @property
    def config(self) -> dict[str, Any]:
        """The part of the description that says how to start it."""
        config: dict[str, Any] = self.description["config"]
        return config

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as the image's user on its read-only files, with /tmp to write to."""
        user, group = (int(number) for number in self.config["User"].split(":"))
        with tempfile.TemporaryDirectory() as bundle:
            subprocess.run(["runc", "spec"], cwd=bundle, check=True)
            path = Path(bundle) / "config.json"
            spec = json.loads(path.read_text(encoding="utf-8"))
            spec["root"] = {"path": str(self.root), "readonly": True}
            # Any folder and no shell: what an image needs beyond that, it must say itself.
            spec["process"] |= {
                "args": list(command),
                "cwd": "/",
                "env": [*self.config["Env"], "HOME=/tmp"],
                "terminal": False,
                "user": {"uid": user, "gid": group},
                "capabilities": {},
            }
            temporary = {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}  # noqa: S108 - a mount
            spec["mounts"].append(temporary)
            path.write_text(json.dumps(spec), encoding="utf-8")
            return subprocess.run(
                ["runc", "run", "--bundle", bundle, f"tunebench-{token_hex(4)}"],
                check=False,
                capture_output=True,
                text=True,
                stdin=subprocess.DEVNULL,
            )


@contextmanager
def opened_image(builder: Builder, image: str) -> Iterator[ImageBox]:
    """Mount an image while the block runs."""
    inspected = builder.run("inspect", "--type", "image", image, stdout=subprocess.PIPE)
    container = builder.run("from", "--pull=false", image, stdout=subprocess.PIPE)
    try:
        root = Path(builder.run("mount", container, stdout=subprocess.PIPE))
        yield ImageBox(root, json.loads(inspected)["OCIv1"])
    finally:
        builder.run("rm", container, stdout=subprocess.PIPE)
