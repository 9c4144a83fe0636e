"""What `tunebench` on a laptop asks of a bucket, as a program: its own package has no Arrow."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tunebench_api.contract import RESULT_FILE, StageKind
from tunebench_jobs.errors import JobError
from tunebench_jobs.storage.bucket import Bucket
from tunebench_jobs.storage.check import check_bucket
from tunebench_jobs.storage.mirror import Mirror
from tunebench_jobs.storage.sources import fetch_source

_TRANSFERS = 8


def main(arguments: Sequence[str]) -> int:
    """Run a subcommand, and print one JSON document."""
    parser = argparse.ArgumentParser(prog="python -m tunebench_jobs store", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    pull = commands.add_parser("pull", help="bring the results of a store here")
    pull.add_argument("uri")
    pull.add_argument("folder", type=Path)
    fetch = commands.add_parser("fetch", help="bring sources here")
    fetch.add_argument("sources", nargs="+", metavar="FIELD=URI")
    options = parser.parse_args(arguments)
    try:
        document = (
            pull_results(options.uri, options.folder)
            if options.command == "pull"
            else fetch_sources(dict(each.split("=", 1) for each in options.sources))
        )
    except JobError as error:
        sys.stdout.write(json.dumps({"problem": str(error)}))
        return error.exit_code
    sys.stdout.write(json.dumps(document))
    return 0


def pull_results(uri: str, folder: Path) -> dict[str, Any]:
    """Make the results in a folder those of the store, with the reports that users read.

    One list of each kind of stage, and one request for each result.
    """
    mirror = Mirror(Bucket(uri), folder)
    check_bucket(mirror.bucket)
    outputs = {
        f"{kind}/{key.removesuffix(f'/{RESULT_FILE}')}"
        for kind in StageKind
        for key in mirror.bucket.list(kind)
        if key.endswith(f"/{RESULT_FILE}") and key.count("/") == 1
    }
    for path in folder.glob(f"*/*/{RESULT_FILE}"):
        if path.parent.relative_to(folder).as_posix() not in outputs:
            path.unlink()
    with ThreadPoolExecutor(_TRANSFERS) as pool:
        list(pool.map(mirror.load_result, outputs))
    for output in outputs:
        if output.startswith(f"{StageKind.SCORE}/"):
            mirror.fetch(output)
    return {"results": sorted(outputs)}


def fetch_sources(sources: Mapping[str, str]) -> dict[str, Any]:
    """Bring what each field names to this machine's cache, and say where it lies now."""
    return {"paths": {uri: str(fetch_source(uri, field)) for field, uri in sources.items()}}
