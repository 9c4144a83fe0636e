"""Reading a prompt set from a folder, and refusing what could not render later."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, TemplateError, TemplateSyntaxError, nodes
from jinja2.meta import find_undeclared_variables

import tunebench_jobs
from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.diffs import LANGUAGE_EXTENSIONS, Extensions
from tunebench_jobs.errors import InputError
from tunebench_jobs.prompts.metadata import (
    LANGUAGES_TABLE,
    METADATA_FILE,
    load_metadata,
    load_toml,
    parse_languages,
)
from tunebench_jobs.prompts.prompt_set import (
    EVALUATE_TABLE,
    NOT_DECOUPLED_TABLE,
    QUALITY_TABLE,
    REASON,
    TABLES,
    PromptSet,
    PromptTemplate,
    compile_template,
)
from tunebench_jobs.prompts.variables import known_variables

_KEYS = {
    **dict.fromkeys((*TABLES.values(), NOT_DECOUPLED_TABLE), ("system", "user")),
    EVALUATE_TABLE: ("prompt",),
    QUALITY_TABLE: ("prompt",),
}
_KNOWN = {
    **{table: known_variables(tool) for tool, table in TABLES.items()},
    NOT_DECOUPLED_TABLE: known_variables(Tool.IMPROVE),
    EVALUATE_TABLE: frozenset({"pr_task", "pr_response1", "pr_response2"}),
    QUALITY_TABLE: frozenset({"pr_task", "pr_answer"}),
}
_ONLY_HEAD = frozenset().union(*(known_variables(tool, only_head=True) for tool in Tool))


def builtin_prompts_dir(directory: Path | None = None) -> Path:
    """Return the folder of the prompt sets that ship with tunebench.

    Args:
        directory: Where the caller says it is. By default TUNEBENCH_PROMPTS_DIR says it, as in
            an image, and else it lies beside the `jobs` folder.

    Raises:
        InputError: There is no such folder, as in an installed wheel.
    """
    repository = Path(tunebench_jobs.__file__).resolve().parents[2]
    found = directory or Path(os.environ.get("TUNEBENCH_PROMPTS_DIR") or repository / "prompts")
    if not found.is_dir():
        raise InputError(
            f"the folder of the built-in prompt sets must exist, got {found}; "
            "set TUNEBENCH_PROMPTS_DIR to the `prompts` folder of a tunebench checkout",
            reason=REASON,
        )
    return found


def load_prompt_set(directory: Path, *, extra_variables: Collection[str] = ()) -> PromptSet:
    """Load the prompt tables of every TOML file below a folder.

    Other tables and files are ignored, and so is what lies below a hidden name: there, a mounted
    ConfigMap keeps its files a second time.

    Args:
        directory: The folder, in PR-Agent's layout; `promptset.toml` is optional.
        extra_variables: Names that the run sets beside the known ones.

    Raises:
        InputError: The folder or a file is unusable; the message names file, table and key.
    """
    if not directory.is_dir():
        raise InputError(
            f"a prompt set must be a folder of TOML files, got {directory}", reason=REASON
        )
    templates: dict[tuple[str, str], PromptTemplate] = {}
    extensions: Extensions = LANGUAGE_EXTENSIONS
    for path in _prompt_files(directory):
        shown = str(path.relative_to(directory))
        document = load_toml(path, shown)
        for template in _parse_templates(document, shown, extra_variables):
            _refuse_double(templates.get((template.table, template.key)), template)
            templates[template.table, template.key] = template
        if LANGUAGES_TABLE in document:
            extensions = parse_languages(document[LANGUAGES_TABLE], shown)
    if not templates:
        tables = ", ".join(f"[{table}]" for table in _KEYS)
        raise InputError(
            f"a prompt set must have one of the tables {tables}, got none below {directory}",
            reason=REASON,
        )
    ordered = tuple(templates[place] for place in sorted(templates))
    return _build_prompt_set(directory, ordered, extensions)


def _prompt_files(directory: Path) -> list[Path]:
    return [
        path
        for path in sorted(directory.rglob("*.toml"))
        if path.is_file()
        and path.name != METADATA_FILE
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    ]


def _build_prompt_set(
    directory: Path,
    templates: tuple[PromptTemplate, ...],
    extensions: Extensions,
) -> PromptSet:
    metadata = load_metadata(directory / METADATA_FILE)
    texts = [[template.table, template.key, template.text] for template in templates]
    used = frozenset().union(*(template.variables for template in templates))
    return PromptSet(
        name=metadata.name or directory.resolve().name,
        sha256=hashlib.sha256(json.dumps(texts).encode()).hexdigest(),
        licence=metadata.licence,
        diff=metadata.build_options("HEAD" if used & _ONLY_HEAD else "2024"),
        templates=templates,
        extensions=extensions,
    )


def _parse_templates(
    document: Mapping[str, Any], shown: str, extra_variables: Collection[str]
) -> Iterator[PromptTemplate]:
    for table, keys in _KEYS.items():
        if table not in document:
            continue
        section = document[table]
        for key in keys:
            text = section.get(key) if isinstance(section, dict) else None
            if not isinstance(text, str):
                raise InputError(
                    f"`{table}.{key}` in {shown} must be a string, got {type(text).__name__}",
                    reason=REASON,
                )
            yield _parse_template(table, key, shown, text, extra_variables)


def _parse_template(
    table: str, key: str, shown: str, text: str, extra_variables: Collection[str]
) -> PromptTemplate:
    # The sandbox has no part in parsing, and the compiled template does not keep its tree.
    try:
        compile_template(text)
        tree = Environment(autoescape=False).parse(text)  # noqa: S701 - prompts are no HTML
        variables = frozenset(find_undeclared_variables(tree))
    except TemplateError as error:
        line = f" (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else ""
        raise InputError(
            f"`{table}.{key}` in {shown} must be a Jinja template, got: {error}{line}",
            reason=REASON,
        ) from error
    template = PromptTemplate(table, key, shown, text, variables)
    _refuse_other_templates(template, tree)
    _refuse_unknown(template, tree, extra_variables)
    return template


def _refuse_other_templates(template: PromptTemplate, tree: nodes.Template) -> None:
    kinds = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
    for node in tree.find_all(kinds):
        raise InputError(
            f"{template.place} must not load other templates, got "
            f"{type(node).__name__.lower()} (line {node.lineno}); write the text in place",
            reason=REASON,
        )


def _refuse_unknown(
    template: PromptTemplate, tree: nodes.Template, extra_variables: Collection[str]
) -> None:
    """Refuse variables that no row will define; one that the template tests for may be absent."""
    tested = {
        node.node.name
        for node in tree.find_all(nodes.Test)
        if node.name in {"defined", "undefined"} and isinstance(node.node, nodes.Name)
    }
    known = _KNOWN[template.table]
    unknown = sorted(template.variables - known - set(extra_variables) - tested)
    if unknown:
        raise InputError(
            f"{template.place} must use known variables only, got `{unknown[0]}`; correct the "
            f"name ({', '.join(sorted(known))}), or set it in `spec.prompts.variables`",
            reason=REASON,
        )


def _refuse_double(earlier: PromptTemplate | None, template: PromptTemplate) -> None:
    if earlier is not None:
        raise InputError(
            f"`[{template.table}]` must be in one file, got {earlier.file} and {template.file}; "
            "remove one of them",
            reason=REASON,
        )
