"""Where things lie that a run names: paths, and schemes that pods and laptops resolve alike.

`pvc://CLAIM/PATH` is a file or folder in a PersistentVolumeClaim of the run's namespace, mounted at
the same place in every pod. `s3://BUCKET/PATH` lies in a bucket, of which machines have copies.
`sample://NAME` is a file that ships with tunebench. Data may lie at other URLs, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

PVC_SCHEME = "pvc://"
S3_SCHEME = "s3://"
SAMPLE_SCHEME = "sample://"
PVC_MOUNTS = "/mnt/pvc"
# In a checkout; an image has its own.
SAMPLES_FOLDER = "manifests/samples/data"

# What fsspec opens, some of it with a package that has to be installed beside tunebench.
URL_SCHEMES = frozenset(
    {
        "abfs", "abfss", "adl", "az", "ftp", "gcs", "gs", "hdfs", "hf", "http", "https", "oci",
        "oss", "sftp", "smb", "webdav", "webhdfs",
    }
)  # fmt: skip

_SCHEME = re.compile(r"^([a-zA-Z][a-zA-Z0-9+.-]*)://")
_GLOB = re.compile(r"[*?[]")
_SAMPLE = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_.]*")
_BUCKET = re.compile(r"s3://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9](/[^?#]*)?")
_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")


def parse_claim(uri: str) -> tuple[str, str]:
    """Return claim and path of a `pvc://` URI.

    Raises:
        ValueError: It is none, or leads out of the claim.
    """
    claim, _, path = uri.removeprefix(PVC_SCHEME).partition("/")
    if not uri.startswith(PVC_SCHEME) or not _CLAIM.fullmatch(claim):
        msg = f"must be {PVC_SCHEME}CLAIM/PATH, got {uri}"
        raise ValueError(msg)
    if ".." in PurePosixPath(path).parts:
        msg = f"must not lead out of the claim, got {uri}"
        raise ValueError(msg)
    return claim, path


def claim_mount(claim: str) -> str:
    """Return the folder at which every pod has a claim."""
    return f"{PVC_MOUNTS}/{claim}"


def resolve_place(uri: str) -> str:
    """Return the path of a `pvc://` URI in a pod; anything else stays as it is."""
    if not uri.startswith(PVC_SCHEME):
        return uri
    claim, path = parse_claim(uri)
    return f"{claim_mount(claim)}/{path}".rstrip("/")


def is_remote(uri: str) -> bool:
    """Whether a URI names what no machine can open as a file."""
    return uri.startswith(S3_SCHEME)


def find_scheme(uri: str) -> str:
    """Return the scheme of a URI; a path has none."""
    match = _SCHEME.match(uri)
    return match[1].lower() if match else ""


def is_url(uri: str) -> bool:
    """Whether a URI names what is read over the network at each use, and has no digest."""
    return find_scheme(uri) in URL_SCHEMES


def split_pattern(path: str) -> tuple[str, str]:
    """Return the folder of a pattern such as `data/2024-*.jsonl`, and the pattern in it.

    What has no `*`, `?` or `[` is a folder as a whole.
    """
    parts = path.split("/")
    first = next((i for i, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    return "/".join(parts[:first]), "/".join(parts[first:])


def list_matches(path: str) -> list[str]:
    """Return the files of this machine that match a pattern, by their names below its folder.

    `**` follows no links, because one that leads back would have no end.

    Raises:
        ValueError: It is no pattern.
    """
    folder, pattern = split_pattern(path)
    if not pattern:
        return []
    root = Path(folder or ("/" if path.startswith("/") else "."))
    found = root.glob(f"{pattern}/*" if pattern.endswith("**") else pattern)
    return sorted(each.relative_to(root).as_posix() for each in found if each.is_file())


def check_bucket(uri: str) -> None:
    """Check the form of an `s3://` URI.

    Raises:
        ValueError: It is none.
    """
    if not _BUCKET.fullmatch(uri):
        msg = f"must be {S3_SCHEME}BUCKET/FOLDER, got {uri}"
        raise ValueError(msg)


def resolve_sample(uri: str, folder: str) -> str:
    """Return the path of a `sample://` URI.

    Raises:
        ValueError: It names no plain file of `folder`.
    """
    name = uri.removeprefix(SAMPLE_SCHEME)
    if not uri.startswith(SAMPLE_SCHEME) or not _SAMPLE.fullmatch(name):
        msg = f"must be {SAMPLE_SCHEME}NAME with the name of one file, got {uri}"
        raise ValueError(msg)
    return f"{folder}/{name}"


def find_claims(document: Any) -> Iterator[str]:
    """Yield the claims of all `pvc://` URIs in plain JSON values."""
    if isinstance(document, str):
        if document.startswith(PVC_SCHEME):
            yield parse_claim(document)[0]
        return
    inner: Iterable[Any] = ()
    if isinstance(document, dict):
        inner = document.values()
    elif isinstance(document, list | tuple):
        inner = document
    for each in inner:
        yield from find_claims(each)
