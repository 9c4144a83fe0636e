"""What a manifest says to strangers: nothing of the machine that made it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

# Names of keys and addresses of servers, which are of use to nobody else.
_PRIVATE = frozenset({"secretRef", "secret_ref", "apiBase", "api_base"})
_WEB = re.compile(r"(?i)(https?|ftp|ssh|git(\+\w+)?)://")


def hide_private(value: Any) -> Any:
    """Return plain values with paths cut down to names, and without keys, passwords and queries."""
    if isinstance(value, Mapping):
        return {
            str(name): hide_private(each) for name, each in value.items() if name not in _PRIVATE
        }
    if isinstance(value, list | tuple):
        return [hide_private(each) for each in value]
    return _hide_text(value) if isinstance(value, str) else value


def _hide_text(text: str) -> str:
    if text.startswith(("/", "~/", "file://")):
        return PurePosixPath(text.removeprefix("file://")).name
    if not _WEB.match(text):
        return text
    try:
        parts = urlsplit(text)
    except ValueError:
        return "an address that cannot be read"
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="", fragment="").geturl()
