"""The languages of changed files, by their paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType

LANGUAGES: Mapping[str, str] = MappingProxyType(
    {
        "bash": "Shell",
        "c": "C",
        "cc": "C++",
        "clj": "Clojure",
        "cpp": "C++",
        "cs": "C#",
        "css": "CSS",
        "cxx": "C++",
        "dart": "Dart",
        "erl": "Erlang",
        "ex": "Elixir",
        "exs": "Elixir",
        "f90": "Fortran",
        "go": "Go",
        "groovy": "Groovy",
        "h": "C",
        "hpp": "C++",
        "hs": "Haskell",
        "html": "HTML",
        "ipynb": "Jupyter Notebook",
        "java": "Java",
        "jl": "Julia",
        "js": "JavaScript",
        "json": "JSON",
        "jsx": "JavaScript",
        "kt": "Kotlin",
        "kts": "Kotlin",
        "lua": "Lua",
        "m": "Objective-C",
        "md": "Markdown",
        "mjs": "JavaScript",
        "ml": "OCaml",
        "nix": "Nix",
        "php": "PHP",
        "pl": "Perl",
        "pm": "Perl",
        "proto": "Protocol Buffers",
        "ps1": "PowerShell",
        "py": "Python",
        "pyi": "Python",
        "pyx": "Cython",
        "r": "R",
        "rb": "Ruby",
        "rs": "Rust",
        "rst": "reStructuredText",
        "scala": "Scala",
        "scss": "CSS",
        "sh": "Shell",
        "sql": "SQL",
        "svelte": "Svelte",
        "swift": "Swift",
        "tex": "TeX",
        "tf": "HCL",
        "toml": "TOML",
        "ts": "TypeScript",
        "tsx": "TypeScript",
        "vue": "Vue",
        "xml": "XML",
        "yaml": "YAML",
        "yml": "YAML",
        "zig": "Zig",
    }
)
_NAMES = MappingProxyType(
    {"dockerfile": "Dockerfile", "makefile": "Makefile", "cmakelists.txt": "CMake"}
)
# Text about the code: the main language of a change only where nothing else changed.
_PROSE = frozenset({"Markdown", "reStructuredText", "JSON", "YAML", "TOML", "XML"})
# What GitHub leaves out when it counts the bytes of a repository's languages.
PROSE_AND_DATA = _PROSE | {"Protocol Buffers", "SQL"}


def find_language(path: str) -> str:
    """Return the language of a file, or nothing where its name does not tell."""
    name = path.rsplit("/", 1)[-1].lower()
    known = _NAMES.get(name)
    return known or (LANGUAGES.get(name.rsplit(".", 1)[-1], "") if "." in name else "")


def find_main_language(changes: Iterable[tuple[str, int]]) -> str:
    """Return the language with most changed lines; code goes before prose and settings.

    Args:
        changes: Path and number of changed lines of each file.
    """
    lines: Counter[str] = Counter()
    for path, count in changes:
        if language := find_language(path):
            # A change without counted lines, such as a rename, is still a change.
            lines[language] += count + 1
    ranked = sorted(lines, key=lambda language: (language in _PROSE, -lines[language], language))
    return ranked[0] if ranked else ""
