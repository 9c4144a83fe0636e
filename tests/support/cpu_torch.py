"""A package index with a PyTorch that needs no CUDA libraries: a trick for tests, never for users.

PyTorch's own index of CPU wheels cannot be reached from everywhere, and the CUDA libraries that the
public wheel needs take 4 GB. `torch` opens them when it is imported, but calls none of them where
there is no GPU. So this index has the public wheel with a small library in place of each one, with
the right names and functions that do nothing; the two that are called at the start are true.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

# Called when `torch` is imported.
TRUE_PACKAGES = ("nvidia-cuda-runtime", "nvidia-cuda-cupti")
# The driver's library is opened on GPU machines only.
REPLACED = re.compile(r"lib(cu|nccl|nv)(?!da\.so)")
# Start of a symbol's name: start of the name of its library. The first that fits counts.
OWNERS = {
    "cublasLt": "libcublasLt.so",
    "cublas": "libcublas.so",
    "cudnn": "libcudnn.so",
    "cusparseLt": "libcusparseLt.so",
    "cusparse": "libcusparse.so",
    "cufft": "libcufft.so",
    "cusolver": "libcusolver.so",
    "nccl": "libnccl.so",
    "pnccl": "libnccl.so",
    "cuFile": "libcufile.so",
    "nvrtc": "libnvrtc.so",
    "nvshmem": "libnvshmem_host.so",
    "nvJitLink": "libnvJitLink.so",
}

# Library: its symbols, each with its version or "".
Symbols = Mapping[str, Mapping[str, str]]


def make_cpu_index(folder: Path, requirements: Path) -> Path:
    """Return a folder below `folder` that pip and uv take as an index, with `torch` alone."""
    pins = find_pins(requirements, ("torch", *TRUE_PACKAGES))
    digest = hashlib.sha256((pins + Path(__file__).read_text(encoding="utf-8")).encode())
    index = folder / digest.hexdigest()[:12]
    if index.is_dir():
        return index
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        wheels = download(pins, Path(scratch))
        made = Path(scratch) / "index"
        (made / "torch").mkdir(parents=True)
        wheel = made / "torch" / wheels["torch"].name
        write_wheel(
            wheels["torch"], [wheels[name.replace("-", "_")] for name in TRUE_PACKAGES], wheel
        )
        link = f'<a href="{wheel.name}">{wheel.name}</a>\n'
        (made / "torch" / "index.html").write_text(link, encoding="utf-8")
        made.rename(index)
    return index


def find_pins(requirements: Path, packages: Iterable[str]) -> str:
    """Return the lines of some packages, hashes included and markers not."""
    text = requirements.read_text(encoding="utf-8")
    found = [
        re.search(rf"^({package}==[^ ]+)[^\\]*(\\\n(?:.*\\\n)*.*\n)", text, flags=re.MULTILINE)
        for package in packages
    ]
    return "".join(f"{match[1]} {match[2]}" for match in found if match)


def download(pins: str, folder: Path) -> dict[str, Path]:
    """Download wheels with the machine's pip, hashes checked; return package -> wheel."""
    listed = folder / "pins.txt"
    listed.write_text(pins, encoding="utf-8")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-cache-dir", "--no-deps"),
            *("--only-binary=:all:", "--require-hashes", "--dest", folder, "-r", listed),
        ],
        check=True,
        stdout=sys.stderr.fileno(),
    )
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


def write_wheel(source: Path, true_wheels: Iterable[Path], target: Path) -> None:
    """Write the wheel again, with the true libraries and one for each that is left out."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        libraries = extract_libraries(source, Path(scratch))
        true = [path for wheel in true_wheels for path in extract_libraries(wheel, Path(scratch))]
        # `torch` looks there for the others, too.
        place = true[0].relative_to(scratch).parent
        absent = find_absent([*libraries, *true])
        for name, symbols in absent.items():
            build_library(true[0].parent / name, symbols)
        added = {path.name: path for path in sorted((Path(scratch) / place).glob("*.so*"))}
        # Stored, because it is read once, on this machine.
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
            for entry in old.infolist():
                with old.open(entry) as reading:
                    if entry.filename.endswith(".dist-info/RECORD"):
                        record = reading.read() + b"".join(
                            f"{place}/{name},,\n".encode() for name in added
                        )
                        new.writestr(entry.filename, record)
                        continue
                    copy = zipfile.ZipInfo(entry.filename, entry.date_time)
                    copy.external_attr = entry.external_attr
                    copy.file_size = entry.file_size
                    with new.open(copy, "w") as writing:
                        shutil.copyfileobj(reading, writing, 1 << 20)
            for name, path in added.items():
                new.write(path, f"{place}/{name}")


def extract_libraries(wheel: Path, folder: Path) -> list[Path]:
    """Extract the shared libraries of a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if re.search(r"/lib/[^/]+\.so[.\d]*$", name)]
        return [Path(archive.extract(name, folder)) for name in names]


def find_absent(libraries: Iterable[Path]) -> Symbols:
    """Return the libraries that others need and nobody has, with what is expected of them."""
    present = {path.name for path in libraries}
    absent: dict[str, dict[str, str]] = defaultdict(dict)
    for path in libraries:
        needed = re.findall(r"\(NEEDED\).*\[(.*?)\]", read("readelf", "-d", path))
        names = [name for name in needed if name not in present and REPLACED.match(name)]
        for name in names:
            absent[name].update()
        lines = read("nm", "-D", "--undefined-only", path).splitlines() if names else []
        for symbol, version in (split_symbol(line.split()[-1]) for line in lines):
            for name in (name for name in names if is_owner(name, symbol, version)):
                absent[name][symbol] = version
    return absent


def split_symbol(text: str) -> tuple[str, str]:
    """Return name and version of `name@version` or `name`."""
    name, _, version = text.partition("@")
    return name, version.lstrip("@")


def is_owner(library: str, symbol: str, version: str) -> bool:
    """Whether a symbol is one of a library: by its name, or by its version."""
    owner = next((owner for start, owner in OWNERS.items() if symbol.startswith(start)), None)
    if owner:
        return library.startswith(owner)
    return version == library or version.startswith(library.split(".so", maxsplit=1)[0] + ".")


def build_library(path: Path, symbols: Mapping[str, str]) -> None:
    """Compile a library whose functions do nothing and report an error."""
    with tempfile.TemporaryDirectory() as scratch:
        source, versions = Path(scratch) / "library.c", Path(scratch) / "versions"
        functions = "".join(f"int {symbol}(void) {{ return 1; }}\n" for symbol in symbols)
        source.write_text(functions or "int nothing;\n", encoding="utf-8")
        by_version: dict[str, list[str]] = defaultdict(list)
        for symbol, version in symbols.items():
            by_version[version].append(symbol)
        versions.write_text(
            "".join(
                f"{version} {{ global: {' '.join(f'{name};' for name in names)} }};\n"
                for version, names in by_version.items()
                if version
            ),
            encoding="utf-8",
        )
        script = [f"-Wl,--version-script={versions}"] if versions.stat().st_size else []
        subprocess.run(
            [
                *("gcc", "-shared", "-fPIC", "-w", "-fno-builtin", "-o", path, source),
                *(f"-Wl,-soname,{path.name}", *script),
            ],
            check=True,
        )


def read(*command: str | Path) -> str:
    """Return what a program prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
