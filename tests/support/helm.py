"""Helm, with folders of its own for what it keeps."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from control_plane import find_program


def run_helm(*arguments: str, kubeconfig: Path | None = None, folder: Path) -> str:
    """Run helm and return what it printed."""
    environment = {
        **os.environ,
        "HELM_CACHE_HOME": str(folder / "cache"),
        "HELM_CONFIG_HOME": str(folder / "config"),
        "HELM_DATA_HOME": str(folder / "data"),
        **({"KUBECONFIG": str(kubeconfig)} if kubeconfig else {}),
    }
    done = subprocess.run(
        [str(find_program("helm")), *arguments],
        check=False,
        capture_output=True,
        text=True,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return done.stdout
