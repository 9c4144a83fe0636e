"""Ray for one stage."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.jobs

# What workers import from, asked in a process of its own: Ray is one to a process.
ASK = """
import json, sys
from tunebench_api.contract import Runtime
from tunebench_jobs.context import StageContext
from tunebench_jobs.local_ray import local_ray

def main(folder):
    with local_ray(StageContext(Runtime(store=folder, output="x", report="r.json")), cpus=1):
        import ray

        @ray.remote(num_cpus=0)
        def look():
            import os, random, sys
            return [random.__file__, os.getcwd(), *sys.path]

        print(json.dumps(ray.get(look.remote())))

main(sys.argv[1])
"""


def test_workers_do_not_import_from_the_working_directory(tmp_path: Path) -> None:
    """A user's `random.py` is not run in place of Python's own."""
    (tmp_path / "random.py").write_text("raise SystemExit('shadowed')")
    done = subprocess.run(
        [sys.executable, "-P", "-c", ASK, str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )

    assert done.returncode == 0, done.stderr
    assert not [place for place in json.loads(done.stdout) if place.startswith(str(tmp_path))]
