"""Pull requests that are the same change, or nearly so: in one set, or across two."""

from tunebench_api.contamination import MatchKind
from tunebench_jobs.data.similar.apart import Apart, keep_apart
from tunebench_jobs.data.similar.duplicates import DuplicateIndex
from tunebench_jobs.data.similar.gate import EvalGate
from tunebench_jobs.data.similar.match import Match
from tunebench_jobs.data.similar.signature import Signature, build_signature

__all__ = [
    "Apart",
    "DuplicateIndex",
    "EvalGate",
    "Match",
    "MatchKind",
    "Signature",
    "build_signature",
    "keep_apart",
]
