"""Whether a pull request holds a secret, in what a prompt may show of it.

Everything is looked at that a prompt or an answer could repeat: added, removed and context lines,
title, description, commit messages and paths. What is obviously no secret passes: examples,
placeholders, templates, sequences, identifiers of the form of a UUID.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from detect_secrets.filters.heuristic import (
    is_not_alphanumeric_string,
    is_potential_uuid,
    is_sequential_string,
    is_templated_secret,
)
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector

from tunebench_jobs.data.clean.secret_names import iter_assigned
from tunebench_jobs.data.clean.secret_shapes import Shape, iter_shapes
from tunebench_jobs.data.drops import Finding, RowDrop
from tunebench_jobs.rows import ChangedFile, PullRequest

ASSIGNED_KIND = "Random value of a secret's name"
FILE_KIND = "File of secrets"

# Files that hold nothing but secrets.
_SECRET_FILES = re.compile(
    r"(?:^|/)(?:\.?(?:netrc|pgpass|htpasswd|git-credentials)|id_(?:rsa|dsa|ecdsa|ed25519)"
    r"|\.aws/credentials|\.docker/config\.json)$|\.(?:ppk|kdbx)$",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"example|sample|dummy|placeholder|change[-_]?me|your[-_]?|fake|mock|redacted|insert|replace"
    r"|xxxxx|foobar|012345|123456|abcdef|deadbeef|my[-_]?secret|password|todo|not[-_]?(?:a[-_]?)?real"
    r"|(.)\1{5}|\.\.\.",
    re.IGNORECASE,
)
# The token of jwt.io: header of HS256, subject 1234567890.
_EXAMPLE_JWT = ".eyJzdWIiOiIxMjM0NTY3ODkw"
_PRAGMA = re.compile(r"pragma: ?(?:allow|white)list[ -]secret")
_PLAIN_WORDS = frozenset(
    {
        "user",
        "username",
        "usr",
        "name",
        "admin",
        "root",
        "guest",
        "me",
        "bob",
        "git",
        "oauth2",
        "sa",
    }
    | {"pass", "passwd", "password", "passw0rd", "pwd", "pw", "pswd", "mypass", "mypassword"}
    | {"secret", "mysecret", "token", "access_token", "key", "apikey", "api_key", "private"}
    | {"test", "testing", "example", "demo", "foo", "bar", "baz", "qux", "hunter2", "none", "null"}
    | {"postgres", "mysql", "redis", "rabbitmq", "mongo", "mongodb", "undefined", "x", "y", "u"}
)
_TEMPLATED = re.compile(r"[<>{}$%*\[\]()|\\\"'`]|\.\.\.|^:|^@")
_MIN_PASSWORD = 4
_LOCAL_HOST = re.compile(
    r"(?:localhost|127\.0\.0\.1|0\.0\.0\.0|(?:[\w-]+\.)*example(?:\.\w+)?|(?:[\w-]+\.)*invalid"
    r"|(?:[\w-]+\.)*test|host(?:name)?|server|db|proxy|my[\w.-]*|[a-z])(?![\w.-])",
    re.IGNORECASE,
)
# Base64 of a key, perhaps as a literal of code or after the marks of a diff.
_KEY_BODY = re.compile(r"[A-Za-z0-9+/]{40}")
_KEY_BODY_CHARACTERS = 400
_NO_KEY = re.compile(r"-----(?:BEGIN|END)|<|\.\.\.")
_KEY_HEADER = re.compile(
    r"-{5}BEGIN [A-Z0-9 ]{0,30}PRIVATE KEY(?: BLOCK)?-{5}|PuTTY-User-Key-File-\d:"
)


def find_secret(pr: PullRequest) -> Finding | None:
    """Return the kind of the first secret and its file; the secret itself is not repeated."""
    for place, path, text in _iter_texts(pr):
        for kind in iter_secret_kinds(text, path):
            return Finding(RowDrop.SECRET, f"{kind} in {place}")
    for file in pr.files:
        if file.patch and _SECRET_FILES.search(file.path):
            return Finding(RowDrop.SECRET, f"{FILE_KIND}: `{file.path}`")
    return None


def hide_texts(pr: PullRequest) -> PullRequest:
    """Forget the whole text of files that hold a secret outside of what they change.

    Their diff is fine, and without the text no renderer can add context with the secret to it.
    """
    files = tuple(_hide_text(file) for file in pr.files)
    if all(after is before for after, before in zip(files, pr.files, strict=True)):
        return pr
    return pr.model_copy(update={"files": files})


def iter_secret_kinds(text: str, path: str) -> Iterator[str]:
    """Yield the kind of each secret in a text of the file `path`."""
    for shape in iter_shapes(text):
        if not _is_harmless(shape, text):
            yield shape.kind
    for found in iter_assigned(text, path):
        if not _is_example(found.value) and not _is_allowed(text, found.end):
            yield ASSIGNED_KIND


def _iter_texts(pr: PullRequest) -> Iterator[tuple[str, str, str]]:
    """Yield a name, a path and the text of each part."""
    for file in pr.files:
        if file.patch:
            yield f"`{file.path}`", file.path, file.patch
    words = "\n".join((pr.title, pr.description, *pr.commits))
    yield "the description", "description.md", words
    yield "a path", "", "\n".join((pr.branch, *(file.path for file in pr.files)))


def _hide_text(file: ChangedFile) -> ChangedFile:
    texts = (file.old_text, file.new_text)
    if any(text and any(iter_secret_kinds(text, file.path)) for text in texts):
        return file.model_copy(update={"old_text": None, "new_text": None})
    return file


def _is_harmless(shape: Shape, text: str) -> bool:
    if _is_allowed(text, shape.end):
        return True
    if shape.kind == PrivateKeyDetector.secret_type:
        return not _has_key_body(text, shape)
    if shape.kind == BasicAuthDetector.secret_type:
        return _is_plain_login(text, shape)
    if shape.kind == JwtTokenDetector.secret_type:
        return _EXAMPLE_JWT in shape.value
    return _is_example(shape.value)


def _is_example(value: str) -> bool:
    """Whether a value only shows where a secret would be."""
    return bool(
        _EXAMPLE.search(value)
        or is_templated_secret(value)
        or is_sequential_string(value)
        or is_potential_uuid(value)
        or is_not_alphanumeric_string(value)
    )


def _is_allowed(text: str, end: int) -> bool:
    """Whether the line says, as detect-secrets has it, that this is no secret."""
    line_end = text.find("\n", end, end + 300)
    return bool(_PRAGMA.search(text, end, line_end if line_end >= 0 else end + 300))


def _has_key_body(text: str, shape: Shape) -> bool:
    """Whether a key follows its header; code that handles keys has headers only."""
    header = _KEY_HEADER.search(text, max(0, shape.start - 11), shape.end + 20)
    if header is None:
        return False
    body = _KEY_BODY.search(text, header.end(), header.end() + _KEY_BODY_CHARACTERS)
    return body is not None and not _NO_KEY.search(text, header.end(), body.start())


def _is_plain_login(text: str, shape: Shape) -> bool:
    """Whether the login of a URL is only an example."""
    password = shape.value
    start = max(0, shape.start - 200)
    user = text[text.rfind("://", start, shape.start) + 3 : shape.start - 1]
    host = text[shape.end + 1 : shape.end + 100]
    return bool(
        len(password) < _MIN_PASSWORD
        or password.lower() in _PLAIN_WORDS
        or ((not user or user.lower() in _PLAIN_WORDS) and not re.search(r"\d", password))
        or password == user
        or _TEMPLATED.search(password)
        or _TEMPLATED.search(user)
        or _LOCAL_HOST.match(host)
        or _EXAMPLE.search(password)
        or not re.match(r"[\w.-]+", host)
    )
