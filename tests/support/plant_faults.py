"""Faults that tests plant in pull requests: secrets of many kinds, and licences that forbid use.

Secrets are drawn at random, so no file of the repository holds anything that looks like one.
"""

from __future__ import annotations

import base64
import json
import string
from collections.abc import Callable, Mapping
from random import Random

from tunebench_jobs.rows import PullRequest

_LETTERS = string.ascii_letters + string.digits
_BASE64 = _LETTERS + "+/"
_URL_SAFE = _LETTERS + "-_"
_HEX = "0123456789abcdef"
_CAPITALS = string.ascii_uppercase + string.digits
_ASSIGNMENTS = (
    '    api_key = "{}"',
    "SECRET_KEY = '{}'",
    '  "clientSecret": "{}",',
    'const accessToken = "{}";',
    '\tpassword := "{}"',
    'headers = {"Authorization": "Bearer {}", "x-auth-token": "{}"}',
)
_PLAIN = ('TOKEN = "{}"', "token: {}", "    login({!r})", "export KEY={}", "// was {} before")
_HOSTS = ("db.corp.internal", "git.acme.io", "redis-7.prod.acme.net:6379")


def _draw(random: Random, alphabet: str, count: int) -> str:
    return "".join(random.choices(alphabet, k=count))


def _make_private_key(random: Random) -> str:
    kind = random.choice(("RSA ", "EC ", "OPENSSH ", "", "DSA "))
    # Written in two parts, so that no scanner takes this line for a key.
    edge = "-----{} " + kind + "PRIVATE" + " KEY-----"
    lines = [_draw(random, _BASE64, 64) for _ in range(4)]
    return "\n".join([edge.format("BEGIN"), *lines, edge.format("END")])


def _make_jwt(random: Random) -> str:
    parts = ({"alg": "HS256", "typ": "JWT"}, {"sub": _draw(random, _HEX, 12), "iat": 1700000000})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(part.rstrip("=") for part in encoded), _draw(random, _URL_SAFE, 43)])


def _make_login(random: Random) -> str:
    password, host = _draw(random, _LETTERS, 14), random.choice(_HOSTS)
    return f"{random.choice(('https', 'postgres', 'redis'))}://deploy:{password}@{host}/main"


def _make_slack(random: Random) -> str:
    numbers = f"{_draw(random, '123456789', 12)}-{_draw(random, '123456789', 12)}"
    return f"xox{random.choice('bp')}-{numbers}-{_draw(random, _LETTERS, 24)}"


def _make_hook(random: Random) -> str:
    team, channel = _draw(random, _CAPITALS, 8), _draw(random, _CAPITALS, 10)
    return f"https://hooks.slack.com/services/T{team}/B{channel}/{_draw(random, _LETTERS, 24)}"


# Kinds with a shape of their own: each one must be found.
EXACT_SECRETS: Mapping[str, Callable[[Random], str]] = {
    "private key": _make_private_key,
    "AWS key": lambda r: f"AKIA{_draw(r, _CAPITALS, 16)}",
    "GitHub token": lambda r: f"gh{r.choice('pousr')}_{_draw(r, _LETTERS, 36)}",
    "GitHub fine-grained token": lambda r: (
        f"github_pat_{_draw(r, _LETTERS, 22)}_{_draw(r, _LETTERS, 59)}"
    ),
    "GitLab token": lambda r: f"glpat-{_draw(r, _URL_SAFE, 20)}",
    "Slack token": _make_slack,
    "Slack hook": _make_hook,
    "Stripe key": lambda r: f"sk_live_{_draw(r, _LETTERS, 24)}",
    "JWT": _make_jwt,
    "login in a URL": _make_login,
    "Google key": lambda r: f"AIza{_draw(r, _URL_SAFE, 35)}",
    "SendGrid key": lambda r: f"SG.{_draw(r, _URL_SAFE, 22)}.{_draw(r, _URL_SAFE, 43)}",
    "npm token": lambda r: f"npm_{_draw(r, _LETTERS, 36)}",
    "PyPI token": lambda r: f"pypi-AgEIcHlwaS5vcmc{_draw(r, _URL_SAFE, 80)}",
    "OpenAI key": lambda r: f"sk-{_draw(r, _LETTERS, 20)}T3BlbkFJ{_draw(r, _LETTERS, 20)}",
    "Azure storage key": lambda r: f"AccountKey={_draw(r, _BASE64, 86)}==",
    "Hugging Face token": lambda r: f"hf_{_draw(r, _LETTERS, 34)}",
}
# Random text that only the name it is assigned to gives away.
NAMED_SECRETS: Mapping[str, Callable[[Random], str]] = {
    "hexadecimal": lambda r: _draw(r, _HEX, r.choice((32, 40, 64))),
    "letters and digits": lambda r: _draw(r, _LETTERS, r.choice((24, 32, 40))),
    "base64": lambda r: _draw(r, _BASE64, r.choice((40, 64))),
}
# Looks like a secret and is none.
HARMLESS: Mapping[str, Callable[[Random], str]] = {
    "AWS example": lambda _: 'aws_access_key_id = "AKIAIOSFODNN7EXAMPLE"',
    "template": lambda _: 'password = "${DATABASE_PASSWORD_FROM_VAULT}"',
    "placeholder": lambda _: 'api_key = "YOUR_API_KEY_GOES_HERE_1234"',
    "UUID": lambda r: f'client_secret_id = "{_make_uuid(r)}"',
    "local login": lambda _: "postgres://postgres:postgres@localhost:5432/app",
    "digest": lambda r: f'    "sha256": "{_draw(r, _HEX, 64)}",',
    "commit": lambda r: f"    rev: {_draw(r, _HEX, 40)}",
    "integrity": lambda r: f'  "integrity": "sha512-{_draw(r, _BASE64, 86)}==",',
    "call": lambda _: "    secret = os.environ['MY_APPLICATION_SECRET_2']",
    "class": lambda _: 'tokenizer_class = "Wav2Vec2CTCTokenizerFastV1"',
    "code that reads keys": lambda _: 'if "-----BEGIN RSA ' + 'PRIVATE KEY-----" in text:',
    "masked": lambda _: 'token = "ghp_****************************3f2a"',
}
FORBIDDEN_LICENSES = (
    *("GPL-3.0-only", "GPL-2.0-or-later", "AGPL-3.0-only", "LGPL-2.1-only", "MPL-2.0", "EPL-2.0"),
    *("CC-BY-NC-4.0", "SSPL-1.0", "BUSL-1.1", "GPL-2.0", "NOASSERTION", "NONE", "Other", None, ""),
    *("MIT AND GPL-3.0-only", "GPL-2.0-only WITH Classpath-exception-2.0", "proprietary"),
    *("LicenseRef-Acme", "MIT OR", "EUPL-1.2", "OSL-3.0", "CC-BY-SA-4.0", "Apache-2.0 AND MPL-2.0"),
)
ALLOWED_LICENSES = (
    *("mit", "apache-2.0", "Apache-2.0 OR GPL-3.0-only", "(MIT AND BSD-3-Clause)", "0BSD", "Zlib"),
    *("Apache-2.0 WITH LLVM-exception", "Unlicense", "CC0-1.0", "BSL-1.0", "PostgreSQL", "isc"),
    *("GPL-2.0-only OR MIT", "BSD-2-Clause-FreeBSD", "Apache-2.0+", "Python-2.0"),
)


def _make_uuid(random: Random) -> str:
    return "-".join(_draw(random, _HEX, count) for count in (8, 4, 4, 4, 12))


def plant_secret(pr: PullRequest, kind: str, random: Random) -> PullRequest:
    """Return the pull request with a secret in an added or a removed line."""
    if kind in NAMED_SECRETS:
        value = NAMED_SECRETS[kind](random)
        return plant_line(pr, random.choice(_ASSIGNMENTS).replace("{}", value), random)
    value = EXACT_SECRETS[kind](random)
    line = value if "\n" in value else random.choice(_PLAIN).format(value)
    return plant_line(pr, line, random)


def plant_line(pr: PullRequest, text: str, random: Random) -> PullRequest:
    """Return the pull request with lines that one of its files gains or loses in a hunk more."""
    number = random.randrange(len(pr.files))
    file, mark = pr.files[number], random.choice("+-")
    lines = text.split("\n")
    before, after = (0, len(lines)) if mark == "+" else (len(lines), 0)
    body = "\n".join(f"{mark}{line}" for line in lines)
    patch = f"{file.patch}\n@@ -9000,{before} +9000,{after} @@\n{body}"
    files = list(pr.files)
    files[number] = file.model_copy(update={"patch": patch})
    return pr.model_copy(update={"files": tuple(files)})
