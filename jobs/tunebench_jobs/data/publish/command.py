"""`tunebench dataset publish`: a dataset for others, on the hub, in a bucket or in a folder."""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunebench_jobs.data.publish.bundle import KEPT_ASIDE, Bundle, load_bundle
from tunebench_jobs.data.publish.hub import send_to_hub
from tunebench_jobs.data.publish.send import send_to_bucket, send_to_folder
from tunebench_jobs.data.publish.target import (
    Target,
    TargetKind,
    build_load_line,
    build_uris,
    parse_target,
)
from tunebench_jobs.failures import run_tool

logger = logging.getLogger(__name__)


def main(arguments: Sequence[str]) -> int:
    """Publish, say how it is read, and return the exit code."""
    options = _build_parser().parse_args(arguments)

    def publish() -> str:
        document = _publish(options)
        return json.dumps(document, indent=1) if options.output == "json" else _build_text(document)

    return run_tool(publish, options.output, interrupted="interrupted; start again to go on")


def _publish(options: argparse.Namespace) -> dict[str, Any]:
    target = parse_target(options.to)
    bundle = load_bundle(options.folder, with_dropped=options.with_dropped)
    for warning in bundle.warnings:
        logger.warning("%s", warning)
    sent, revision = _send(bundle, target, private=options.private)
    train, evaluation = build_uris(target, revision)
    return {
        "to": options.to,
        "files": {file.name: file.sha256 for file in bundle.files},
        "sent": sent,
        "left_out": [name for name in bundle.left_out if name in KEPT_ASIDE],
        "revision": revision or None,
        "load": build_load_line(target, revision),
        "train": train,
        "eval": evaluation,
        "warnings": list(bundle.warnings),
    }


def _send(bundle: Bundle, target: Target, *, private: bool) -> tuple[int, str]:
    """Return how many files were sent, and the commit of the hub."""

    def tell(text: str) -> None:
        logger.info("%s", text)

    if target.kind is TargetKind.HUB:
        return len(bundle.files), send_to_hub(bundle, target.name, tell, private=private)
    if target.kind is TargetKind.BUCKET:
        return send_to_bucket(bundle, target.name, tell), ""
    return send_to_folder(bundle, Path(target.name), tell), ""


def _build_text(document: dict[str, Any]) -> str:
    left_out = document["left_out"]
    return "\n".join(
        [
            f"{len(document['files'])} files are in {document['to']}",
            *([f"left out: {', '.join(left_out)} (`--with-dropped` adds them)"] * bool(left_out)),
            "",
            "from datasets import load_dataset",
            f"dataset = {document['load']}",
            "",
            "dataset:",
            f"  train: {{uri: {json.dumps(document['train'])}}}",
            f"  eval: {{uri: {json.dumps(document['eval'])}}}",
        ]
    )


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tunebench dataset publish", description=__doc__)
    parser.add_argument("folder", type=Path, help="what `tunebench dataset build` wrote")
    parser.add_argument("--to", required=True, help="hf://datasets/OWNER/NAME, s3:// or a folder")
    parser.add_argument("--private", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--with-dropped", action="store_true", help="what was left out, too")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    return parser
