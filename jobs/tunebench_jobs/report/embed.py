"""One file that needs nothing else: scripts, styles and data go into it, and nothing gets out."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from importlib import resources
from typing import Any

from markupsafe import Markup

from tunebench_jobs.errors import JobError

# Colours, and how words of strangers become text, are those of the curators' page.
_CURATE = "tunebench_jobs.curate"
_SHARED_STYLE, _SHARED_SCRIPT = "palette.css", "text.js"
# In the order in which they need each other.
SCRIPTS = ("data.js", "state.js", "rows.js", "diff.js", "answer.js", "listing.js", "detail.js")
_LAST = "app.js"
_STYLE = "style.css"
_IMPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=async |const |class |function )", re.MULTILINE)


def load_page_file(name: str, package: str = "tunebench_jobs.report") -> str:
    """Return a file of the page."""
    return (resources.files(package) / "page" / name).read_text(encoding="utf-8")


def build_script() -> str:
    """Return the page's modules as one: without imports, in an order that needs none."""
    modules = [
        load_page_file(_SHARED_SCRIPT, _CURATE),
        *map(load_page_file, (*SCRIPTS, _LAST)),
    ]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", module)) for module in modules)


def build_style() -> str:
    """Return the page's styles as one."""
    return load_page_file(_SHARED_STYLE, _CURATE) + load_page_file(_STYLE)


def build_policy(script: str, style: str) -> str:
    """Return a content security policy under which these two work and nothing else does."""
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {_hash(script)}",
            f"style-src {_hash(style)}",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        ]
    )


def embed_code(code: str) -> Markup:
    """Return a script or a style of ours as it stands.

    Raises:
        JobError: It would end its element.
    """
    if re.search(r"</(script|style)|<!--", code, re.IGNORECASE):
        msg = "scripts and styles of the report must not hold the end of their element"
        raise JobError(msg, reason="BrokenPage")
    return Markup(code)  # noqa: S704 - a file of this package, and looked at


def pack(document: Any) -> str:
    """Return a document as compressed JSON in letters that mean nothing in HTML."""
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    # Without the time, so that the same data are the same bytes.
    return base64.b64encode(gzip.compress(text.encode(), 6, mtime=0)).decode()


def _hash(code: str) -> str:
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    return f"'sha256-{digest}'"
