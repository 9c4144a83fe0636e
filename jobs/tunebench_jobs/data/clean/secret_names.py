"""Random text that is assigned to a name such as `api_key`, found in the way of detect-secrets.

Its own keyword detector takes any text after such a name, `password: required` too, and so would
drop a large part of all code. This one asks for a value that is as random as a key: entropy by
detect-secrets, and the frequent change between small letters, capitals and digits that words lack.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from detect_secrets.filters.heuristic import is_sequential_string, is_templated_secret
from detect_secrets.plugins.high_entropy_strings import Base64HighEntropyString

# In lower case. Where a name has several of them, it is read from the first.
_NAMES = (
    *(
        "secret",
        "passw",
        "passphrase",
        "pwd",
        "token",
        "credential",
        "apikey",
        "api_key",
        "api-key",
    ),
    *("accesskey", "access_key", "access-key", "authkey", "auth_key", "auth-key", "account_key"),
    *("accountkey", "privatekey", "private_key", "private-key", "client_key", "clientkey"),
    *("encryption_key", "encryptionkey", "signing_key", "signingkey", "webhook_key", "master_key"),
)
# After the name: the rest of it, an assignment, perhaps a prefix such as `Bearer`, a value. Each
# part is bounded, and none can match what the next one begins with.
_VALUE_MIN, _VALUE_MAX = 16, 300
_ASSIGNED = re.compile(
    r"(?!iz|is)[\w\-]{0,40}+[\"'`\])]{0,3}+(?::[ \t]{0,4}+[A-Za-z\[\]]{1,20})??[ \t]{0,20}+"
    r"(?::=|=>|->|={1,3}|!={1,2}|:|,|\()[ \t]{0,20}+"
    r"(?:(?:Bearer|Basic|token)[ \t]{1,4}+)?+(?P<quote>[brfu@]{0,2}+[\"'`]|)"
    r"(?:(?:Bearer|Basic|token)[ \t]{1,4}+)?+"
    rf"(?P<value>[A-Za-z0-9+/=_.~$!@#%^&*-]{{{_VALUE_MIN},{_VALUE_MAX}}}+)(?P<end>.?)",
    re.IGNORECASE,
)
_HEX = re.compile(r"(?:0x)?[0-9a-f]{20,}|(?:0x)?[0-9A-F]{20,}")
_MIN_HEX_ENTROPY = 2.8
_MIN_ENTROPY = 3.4
# Of the pairs in a random text of letters and digits, 0.45 change class so; of words, 0.15.
_MIN_TURNS = 0.22
_CLASSES = str.maketrans(
    {
        **dict.fromkeys("abcdefghijklmnopqrstuvwxyz", "a"),
        **dict.fromkeys("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "A"),
        **dict.fromkeys("0123456789", "0"),
    }
)
# A capital before a small letter begins a word, and shows nothing.
_TURN = re.compile(r"(?=aA|a0|A0|0a|0A)")
_LETTER_RUN = re.compile(r"a{7,}|A?a{6,}|A{7,}")
_SEPARATORS = re.compile(r"[^A-Za-z0-9]+")
# A value without quotes is a value only where code has none.
_SETTINGS = re.compile(
    r"(?:\.(?:env|ya?ml|ini|cfg|conf|config|properties|toml|sh|bash|zsh|tfvars|txt|md|rst|http"
    r"|service|netrc|npmrc|pypirc)|(?:^|/)(?:\.?env(?:\.[\w.-]+)?|dockerfile[\w.-]*|\.[a-z]+rc))$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Assigned:
    """A random value that is assigned to a secret's name, with its place in the text."""

    value: str
    start: int
    end: int


def iter_assigned(text: str, path: str) -> Iterator[Assigned]:
    """Yield the random values of names that sound like those of secrets."""
    lower = text.lower()
    # A few letters grow in lower case; then places would not be the same.
    if len(lower) != len(text):
        lower = "".join(char if len(low := char.lower()) != 1 else low for char in text)
    unquoted = bool(_SETTINGS.search(path))
    for name in _NAMES:
        place = lower.find(name)
        while place >= 0:
            place += len(name)
            match = _ASSIGNED.match(text, place)
            if match and (match["quote"] or unquoted) and is_random(match["value"]):
                if match["quote"] or match["end"] not in {"(", "[", "{"}:
                    yield Assigned(match["value"], *match.span("value"))
                place = match.end("value")
            place = lower.find(name, place)


def is_random(value: str) -> bool:
    """Whether a value is as random as a key."""
    if is_templated_secret(value) or is_sequential_string(value):
        return False
    entropy = _load_plugin().calculate_shannon_entropy(value)
    if _HEX.fullmatch(value):
        return bool(entropy >= _MIN_HEX_ENTROPY)
    if entropy < _MIN_ENTROPY:
        return False
    classes = _SEPARATORS.sub("", value).translate(_CLASSES)
    if len(classes) < _VALUE_MIN or len(_LETTER_RUN.findall(classes)) > 1:
        return False
    turns = len(_TURN.findall(classes)) / len(classes)
    return turns >= _MIN_TURNS


@cache
def _load_plugin() -> Any:
    return Base64HighEntropyString()
