"""Builds the images with buildah, on a machine without Docker and without an image registry.

`images.py build` is `make images`; a cluster's node takes them with
`images.py export IMAGE | ctr --namespace k8s.io images import -`.
Docker and any other OCI builder need nothing of this; docs/images.md is for them.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from base_image import build_base
from cpu_torch import make_cpu_index

REPOSITORY = Path(__file__).parents[2]
STORAGE = REPOSITORY / ".tools" / "images"
OPERATOR, JOBS = "tunebench/operator:dev", "tunebench/jobs:dev"
# What pip, uv and apt of the machine are told by their environment, and a build must be told too.
SETTING = re.compile(r"(PIP|UV)_[A-Z_]*(INDEX|TRUSTED|INSECURE|TIMEOUT)[A-Z_]*|\w+_proxy")
REMEDIES = {
    "buildah": "install the package `buildah`, or build with Docker as docs/images.md says",
    "debootstrap": "install the package `debootstrap`, or name an image with `--base`",
    "gcc": "install the package `gcc`, or name PyTorch's CPU index with `--torch-index`",
    "nm": "install the package `binutils`, or name PyTorch's CPU index with `--torch-index`",
    "readelf": "install the package `binutils`, or name PyTorch's CPU index with `--torch-index`",
}


class CannotBuildError(Exception):
    """The machine lacks a program, or the right to use it; the message has the remedy."""


@dataclass(frozen=True)
class Builder:
    """Buildah with images and layers in a folder of the caller's."""

    folder: Path

    def run(self, *arguments: str, stdout: int | IO[bytes] | None = None) -> str:
        """Run a command of buildah; return what it prints, if `stdout` is a pipe."""
        require("buildah")
        folder = self.folder.resolve()
        scratch = folder / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)
        places = ("--root", str(folder / "root"), "--runroot", str(folder / "run"))
        command = ["buildah", *places, "--storage-driver", "overlay", *arguments]
        # Large files go through its temporary folder, and the caches of `RUN` lie there.
        environment = {**os.environ, "TMPDIR": str(scratch)}
        done = subprocess.run(command, check=True, stdout=stdout, env=environment)
        return (done.stdout or b"").decode().strip()

    def find_id(self, image: str) -> str:
        """Return the digest that names an image's content, or "" if there is none."""
        listed = self.run(
            *("images", "--no-trunc", "--format", "{{.Name}}:{{.Tag}} {{.ID}}"),
            stdout=subprocess.PIPE,
        )
        pairs = [line.split() for line in listed.splitlines()]
        # Buildah puts what it builds under the host `localhost`.
        return next((number for name, number in pairs if name.endswith(f"/{image}")), "")


def require(*programs: str) -> None:
    """Check that programs are there before anything costs time.

    Raises:
        CannotBuildError: One is not.
    """
    for program in programs:
        if shutil.which(program) is None:
            msg = f"`{program}` must be on PATH; {REMEDIES[program]}"
            raise CannotBuildError(msg)


def find_base(builder: Builder) -> str:
    """Return the Dockerfiles' base image, or a stand-in where no registry can be reached."""
    text = (REPOSITORY / "operator" / "Dockerfile").read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG BASE=(\S+)$", text, flags=re.MULTILINE)
    stand_in = "tunebench/base:bookworm"
    for image in (base, stand_in):
        if builder.find_id(image):
            return str(image)
    try:
        builder.run("pull", "--quiet", base)
    except subprocess.CalledProcessError:
        log(f"no registry has `{base}`; debootstrap makes a stand-in")
        require("debootstrap")
        build_base(builder.run, stand_in)
        return stand_in
    return str(base)


def build_image(
    builder: Builder, dockerfile: str, image: str, *, base: str, arguments: tuple[str, ...] = ()
) -> None:
    """Build one image; what is unchanged since the last time comes from the layers."""
    began = time.monotonic()
    with build_secrets() as secrets:
        builder.run(
            *("build", "--layers", "--isolation", "chroot", "--network", "host"),
            *("--format", "docker", "--build-arg", f"BASE={base}", "--pull=false"),
            *(word for name, path in secrets.items() for word in secret(name, path)),
            *(*arguments, "--file", dockerfile, "--tag", image, str(REPOSITORY)),
            stdout=sys.stderr.fileno(),
        )
    log(f"`{image}` is built, after {time.monotonic() - began:.0f} s")


def build_images(
    folder: Path,
    *,
    operator: str | None = OPERATOR,
    jobs: str | None = JOBS,
    base: str | None = None,
    torch_index: str | None = None,
) -> None:
    """Build the images that are named.

    Args:
        folder: Where buildah keeps images and layers; another run with it is quick.
        operator: Name of the operator's image; None builds none.
        jobs: Name of the jobs' image; None builds none.
        base: Base image; by default that of the Dockerfiles, or a stand-in.
        torch_index: Address of an index with PyTorch's wheels. By default the jobs image is for
            tests on a CPU only: PyTorch's CUDA wheel without the CUDA libraries. Empty: with them,
            as for the Dockerfile.

    Raises:
        CannotBuildError: The machine lacks something.
    """
    require("buildah")
    if os.geteuid() != 0:
        msg = "images must be built as root, because buildah mounts their files"
        raise CannotBuildError(msg)
    builder = Builder(folder)
    base = base or find_base(builder)
    if operator:
        build_image(builder, "operator/Dockerfile", operator, base=base)
    if jobs:
        mount: tuple[str, ...] = ()
        if torch_index is None:
            require("gcc", "nm", "readelf")
            index = make_cpu_index(folder.resolve() / "torch", REPOSITORY / "requirements/jobs.txt")
            # The name has a digest, so that another wheel is another layer.
            torch_index = f"file:///torch/{index.name}"
            mount = ("--volume", f"{index}:/torch/{index.name}:ro")
        arguments = ("--build-arg", f"TORCH_INDEX={torch_index}", *mount)
        build_image(builder, "jobs/Dockerfile", jobs, base=base, arguments=arguments)


def export_image(folder: Path, image: str, target: str = "/dev/stdout") -> None:
    """Write an image as an archive for `docker load` or `ctr images import`."""
    Builder(folder).run("push", "--quiet", image, f"docker-archive:{target}:{image}")


def secret(name: str, path: Path) -> tuple[str, str]:
    """Return the arguments for one secret of a build."""
    return "--secret", f"id={name},src={path}"


@contextmanager
def build_secrets(environment: Mapping[str, str] = os.environ) -> Iterator[dict[str, Path]]:
    """Write what pip, uv and apt need on this machine; the files are gone after the block."""
    with tempfile.TemporaryDirectory() as folder:
        secrets = {name: Path(folder) / name for name in ("settings", "ca", "apt")}
        certificates = environment.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile
        secrets["ca"].write_bytes(Path(certificates).read_bytes() if certificates else b"")
        secrets["apt"].write_text(list_apt_settings(), encoding="utf-8")
        settings = {
            **{name: value for name, value in environment.items() if SETTING.fullmatch(name)},
            **read_pip_settings(),
            "APT_CONFIG": "/run/secrets/apt",
            **(
                dict.fromkeys(("SSL_CERT_FILE", "PIP_CERT"), "/run/secrets/ca")
                if certificates
                else {}
            ),
        }
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
        secrets["settings"].write_text("".join(lines), encoding="utf-8")
        yield secrets


def read_pip_settings() -> dict[str, str]:
    """Return the index that pip's own files name, in the words of pip's and uv's environment."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = dict(re.findall(r"^\w+\.([\w-]+)='(.*)'$", listed, flags=re.MULTILINE))
    names = {
        "index-url": ("PIP_INDEX_URL", "UV_DEFAULT_INDEX"),
        "extra-index-url": ("PIP_EXTRA_INDEX_URL", "UV_INDEX"),
    }
    return {name: found[key] for key, pair in names.items() if key in found for name in pair}


def list_apt_settings() -> str:
    """Return how the machine's apt downloads: proxies, timeouts, checks."""
    if shutil.which("apt-config") is None:
        return ""
    command = ["apt-config", "dump", "Acquire"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def log(message: str) -> None:
    """Tell what happens; standard output is for archives."""
    sys.stderr.write(f"images: {message}\n")
    sys.stderr.flush()


def parse_arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build both images")
    build.add_argument("--operator", default=OPERATOR, metavar="IMAGE", help="empty: none")
    build.add_argument("--jobs", default=JOBS, metavar="IMAGE", help="empty: none")
    build.add_argument("--base", metavar="IMAGE", help="base image")
    build.add_argument("--torch-index", metavar="URL", help="as TORCH_INDEX of the Dockerfile")
    export = commands.add_parser("export", help="write an archive of one image")
    export.add_argument("image")
    export.add_argument("--out", default="/dev/stdout", metavar="FILE")
    for command in (build, export):
        command.add_argument("--storage", type=Path, default=STORAGE, metavar="FOLDER")
    return parser.parse_args()


def main() -> None:
    """Build or export, or say what is missing."""
    options = parse_arguments()
    try:
        if options.command == "export":
            export_image(options.storage, options.image, options.out)
        else:
            build_images(
                options.storage,
                operator=options.operator or None,
                jobs=options.jobs or None,
                base=options.base,
                torch_index=options.torch_index,
            )
    except CannotBuildError as error:
        sys.exit(str(error))
    except subprocess.CalledProcessError as error:
        sys.exit(f"`{error.cmd[0]}` failed with exit code {error.returncode}; its message is above")


if __name__ == "__main__":
    main()
