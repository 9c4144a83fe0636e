"""A prompt set in memory: templates of a stranger, rendered in a sandbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.diffs import LANGUAGE_EXTENSIONS, DiffOptions, Extensions, PromptFormat
from tunebench_jobs.errors import InputError

REASON = "InvalidPromptSet"

TABLES: Mapping[Tool, str] = {
    Tool.DESCRIBE: "pr_description_prompt",
    Tool.REVIEW: "pr_review_prompt",
    Tool.IMPROVE: "pr_code_suggestions_prompt",
}
# HEAD asks with this system prompt, because it shows the diff in one piece.
NOT_DECOUPLED_TABLE = "pr_code_suggestions_prompt_not_decoupled"
EVALUATE_TABLE = "pr_evaluate_prompt"
# Of our own: PR-Agent scores no training answers.
QUALITY_TABLE = "pr_quality_prompt"

# What an expression of a template can raise when its values have the wrong type or size.
_TEMPLATE_FAILURES = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)

_ENVIRONMENT = ImmutableSandboxedEnvironment(undefined=StrictUndefined)


@dataclass(frozen=True)
class Messages:
    """One task as a chat asks it."""

    system: str
    user: str

    def to_chat(self) -> list[dict[str, str]]:
        """Return the messages as chat templates and chat APIs take them."""
        return [
            {"role": "system", "content": self.system},
            {"role": "user", "content": self.user},
        ]


@dataclass(frozen=True)
class PromptTemplate:
    """One template: its place in the TOML files, its text and the variables it reads."""

    table: str
    key: str
    file: str
    text: str
    variables: frozenset[str]

    @property
    def place(self) -> str:
        """Where a user finds the template."""
        return f"`{self.table}.{self.key}` in {self.file}"

    def render(self, variables: Mapping[str, object]) -> str:
        """Render the text.

        Raises:
            InputError: A variable is undefined, or an expression fails with these values.
        """
        try:
            return compile_template(self.text).render(variables)
        except _TEMPLATE_FAILURES as error:
            raise InputError(
                f"{self.place} must render with the variables of its tool, got: {error}; "
                "correct the template, or set the variable in `spec.prompts.variables`",
                reason=REASON,
            ) from error


@dataclass(frozen=True)
class PromptSet:
    """The templates that training, serving and judging share, with what identifies them."""

    name: str
    sha256: str
    licence: str | None
    # Whose layout and variables, with that generation's settings for diffs.
    diff: DiffOptions
    templates: tuple[PromptTemplate, ...]
    # The extensions of each language, for the order of files in a diff.
    extensions: Extensions = field(default_factory=lambda: LANGUAGE_EXTENSIONS, repr=False)

    @property
    def format(self) -> PromptFormat:
        """Whose layout and variables the set has."""
        return self.diff.style

    @property
    def tools(self) -> tuple[Tool, ...]:
        """The tools that the set can ask for."""
        return tuple(tool for tool in Tool if self._find(*self._user_places(tool)))

    @property
    def has_evaluate(self) -> bool:
        """Whether the set can ask a judge."""
        return self._find((EVALUATE_TABLE, "prompt")) is not None

    @property
    def has_quality(self) -> bool:
        """Whether the set can ask how good a training answer is."""
        return self._find((QUALITY_TABLE, "prompt")) is not None

    @property
    def decouples_hunks(self) -> bool:
        """Whether Improve sees old and new lines apart (HEAD's system prompt decides)."""
        return self._find((NOT_DECOUPLED_TABLE, "system")) is None

    @property
    def variables(self) -> frozenset[str]:
        """Every variable that a tool's templates read."""
        return frozenset().union(*(self.tool_variables(tool) for tool in self.tools))

    def tool_variables(self, tool: Tool) -> frozenset[str]:
        """Every variable that the templates of one tool read."""
        system, user = self._tool_templates(tool)
        return system.variables | user.variables

    def render(self, tool: Tool, variables: Mapping[str, object]) -> Messages:
        """Render the messages of one task.

        Raises:
            InputError: The set lacks the tool, or a template does not render.
        """
        system, user = self._tool_templates(tool)
        return Messages(system=system.render(variables), user=user.render(variables))

    def render_evaluate(self, pr_task: str, response1: str, response2: str) -> str:
        """Render what a judge is asked about two completions of one task.

        Raises:
            InputError: The set has no such prompt, or it does not render.
        """
        template = self._require((EVALUATE_TABLE, "prompt"))
        return template.render(
            {"pr_task": pr_task, "pr_response1": response1, "pr_response2": response2}
        )

    def render_quality(self, pr_task: str, answer: str) -> str:
        """Render what a judge is asked about one training answer.

        Raises:
            InputError: The set has no such prompt, or it does not render.
        """
        template = self._require((QUALITY_TABLE, "prompt"))
        return template.render({"pr_task": pr_task, "pr_answer": answer})

    def _tool_templates(self, tool: Tool) -> tuple[PromptTemplate, PromptTemplate]:
        system: tuple[tuple[str, str], ...] = ((TABLES[tool], "system"),)
        if tool is Tool.IMPROVE:
            system = ((NOT_DECOUPLED_TABLE, "system"), *system)
        return self._require(*system), self._require(*self._user_places(tool))

    @staticmethod
    def _user_places(tool: Tool) -> tuple[tuple[str, str], ...]:
        places = ((TABLES[tool], "user"),)
        return (*places, (NOT_DECOUPLED_TABLE, "user")) if tool is Tool.IMPROVE else places

    def _find(self, *places: tuple[str, str]) -> PromptTemplate | None:
        """Return the template at the first place that the set has."""
        by_place = {(template.table, template.key): template for template in self.templates}
        return next((by_place[place] for place in places if place in by_place), None)

    def _require(self, *places: tuple[str, str]) -> PromptTemplate:
        found = self._find(*places)
        if found is None:
            table = places[-1][0]
            raise InputError(
                f"prompt set `{self.name}` must have the table `[{table}]`, got none; "
                "add a TOML file that holds it, or drop what needs it from the run",
                reason=REASON,
            )
        return found


@lru_cache(maxsize=256)
def compile_template(text: str) -> Template:
    """Compile a template once for all rows."""
    return _ENVIRONMENT.from_string(text)
