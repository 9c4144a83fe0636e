"""Prompt sets load, refuse and render as PR-Agent's files need it."""

import pickle
from pathlib import Path

import pytest

from tunebench_api.v1alpha1 import Tool
from tunebench_jobs.diffs import Options2024, OptionsHead
from tunebench_jobs.errors import InputError
from tunebench_jobs.prompts import (
    PromptSet,
    asks_for_files,
    build_task,
    build_variables,
    builtin_prompts_dir,
    check_prompt_set,
    load_prompt_set,
)
from tunebench_jobs.prompts.variables import Value
from tunebench_jobs.rows import ChangedFile, PullRequest

PR = PullRequest(
    id="acme/inventory#12",
    repository="acme/inventory",
    title="Reserve stock",
    description="Reserved items {{ are }} not free.",
    branch="fix/stock",
    language="Python",
    commits=("Reserve", "Test"),
    files=(ChangedFile(path="stock.py", patch="@@ -1 +1 @@\n-a\n+b"),),
)
ENDING = "Response (should be a valid YAML, and nothing else):\n```yaml"
HEAD_DESCRIBE = """
{{ enable_pr_diagram }} {{ include_file_summary_changes }} {{ duplicate_prompt_examples }}
{%- for ticket in related_tickets %}{{ ticket.title }}
{%- if ticket.requirements is defined %}{{ ticket.requirements }}{% endif %}{% endfor %}
"""
HEAD_REVIEW = """
{{ date }} {{ num_max_findings }} {{ is_ai_metadata }} {{ require_security_review }}
{{ require_todo_scan }} {{ require_estimate_contribution_time_cost }} {{ num_pr_files }}
{{ require_score }} {{ require_tests }} {{ answer_str }}{{ question_str }}
"""
NOTE = "\n...(truncated)"
HEAD_IMPROVE = "{{ date }} {{ focus_only_on_problems }} {{ num_code_suggestions }}"


def write_table(directory: Path, name: str, table: str, **texts: str) -> None:
    """Write one TOML file with one table."""
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    body = "\n".join(f'{key} = """\n{text}"""' for key, text in texts.items())
    path.write_text(f"[{table}]\n{body}\n", encoding="utf-8")


def make_set(directory: Path, user: str = "{{ diff|trim }}\n", system: str = "S") -> PromptSet:
    """Write and load a set that has Describe only."""
    write_table(directory, "d.toml", "pr_description_prompt", system=system, user=user)
    return load_prompt_set(directory)


def make_three_tools(directory: Path) -> PromptSet:
    """Write and load a set that shows each tool the diff and nothing else."""
    for table in ("pr_description_prompt", "pr_review_prompt", "pr_code_suggestions_prompt"):
        write_table(directory, f"{table}.toml", table, system="S", user="{{ diff }}")
    return load_prompt_set(directory)


def make_head_set(directory: Path, *, not_decoupled: bool) -> PromptSet:
    """Write and load a set with HEAD's variables."""
    write_table(
        directory, "d.toml", "pr_description_prompt", system=HEAD_DESCRIBE, user="{{ diff }}"
    )
    write_table(directory, "r.toml", "pr_review_prompt", system=HEAD_REVIEW, user="{{ diff }}")
    write_table(
        directory,
        "sub/i.toml",
        "pr_code_suggestions_prompt",
        system="decoupled",
        user="{{ diff_no_line_numbers }}",
    )
    if not_decoupled:
        write_table(
            directory,
            "sub/n.toml",
            "pr_code_suggestions_prompt_not_decoupled",
            system=HEAD_IMPROVE,
            user="unused",
        )
    return load_prompt_set(directory)


@pytest.mark.parametrize("name", ["default", "compact"])
def test_builtin_sets_are_complete(name: str) -> None:
    """Both sets have every tool and a judge's prompt, and end in an open YAML fence."""
    prompt_set = load_prompt_set(builtin_prompts_dir() / name)

    assert (prompt_set.name, prompt_set.licence, prompt_set.format) == (name, "Apache-2.0", "2024")
    assert prompt_set.tools == tuple(Tool)
    assert prompt_set.render_evaluate("T", "A", "B").endswith(ENDING)
    for tool in Tool:
        messages = prompt_set.render(tool, build_variables(PR, tool, prompt_set, {}))
        assert messages.user.endswith(ENDING)
        assert "stock.py" in messages.user
        assert [message["role"] for message in messages.to_chat()] == ["system", "user"]


@pytest.mark.parametrize("name", ["default", "compact"])
@pytest.mark.parametrize(
    ("tool", "keys"),
    [
        (Tool.DESCRIBE, ["type", "pr_files", "filename", "changes_title", "description", "title"]),
        (Tool.REVIEW, ["review", "possible_issues", "security_concerns", "code_feedback"]),
        (Tool.IMPROVE, ["code_suggestions", "existing_code", "improved_code", "label"]),
    ],
)
def test_builtin_sets_name_the_keys(name: str, tool: Tool, keys: list[str]) -> None:
    """Each prompt names the keys that its answer must have."""
    prompt_set = load_prompt_set(builtin_prompts_dir() / name)
    system = prompt_set.render(tool, build_variables(PR, tool, prompt_set, {})).system

    assert [key for key in keys if key not in system] == []


@pytest.mark.parametrize("tool", Tool)
def test_compact_stays_compact(tool: Tool) -> None:
    """Small models keep their window for the diff: 110 tokens are about 350 characters."""
    report = check_prompt_set(builtin_prompts_dir() / "compact")

    assert report.tools[tool].scaffold_characters <= 350


@pytest.mark.parametrize(
    ("tool", "override", "key"),
    [
        (Tool.DESCRIBE, {"enable_semantic_files_types": False}, "pr_files"),
        (Tool.REVIEW, {"num_code_suggestions": 0}, "code_feedback"),
        (Tool.REVIEW, {"require_tests": False}, "relevant_tests"),
    ],
)
@pytest.mark.parametrize("name", ["default", "compact"])
def test_switches_drop_keys(name: str, tool: Tool, override: dict[str, Value], key: str) -> None:
    """A setting that is off takes its key out of the prompt."""
    prompt_set = load_prompt_set(builtin_prompts_dir() / name)
    on = prompt_set.render(tool, build_variables(PR, tool, prompt_set, {}))
    off = prompt_set.render(tool, build_variables(PR, tool, prompt_set, override))

    assert key in on.system
    assert key not in off.system


def test_missing_builtin_folder_names_the_setting(tmp_path: Path) -> None:
    """Without a checkout, the error says which setting helps."""
    with pytest.raises(InputError, match="TUNEBENCH_PROMPTS_DIR"):
        builtin_prompts_dir(tmp_path / "absent")


def test_an_image_says_where_the_builtin_prompts_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TUNEBENCH_PROMPTS_DIR names the folder where no caller does."""
    monkeypatch.setenv("TUNEBENCH_PROMPTS_DIR", str(tmp_path))

    assert builtin_prompts_dir() == tmp_path


def test_the_text_identifies_a_set(tmp_path: Path) -> None:
    """The hash follows the templates' text and neither file names nor the folder's."""
    first = make_set(tmp_path / "a")
    write_table(
        tmp_path / "b", "x/y.toml", "pr_description_prompt", user="{{ diff|trim }}\n", system="S"
    )
    same = load_prompt_set(tmp_path / "b")
    other = make_set(tmp_path / "c", system="T")

    assert first.sha256 == same.sha256
    assert first.sha256 != other.sha256
    assert (first.name, first.licence) == ("a", None)


def test_other_tables_and_hidden_files_are_ignored(tmp_path: Path) -> None:
    """PR-Agent's whole settings folder loads, and so does a ConfigMap with its hidden copy."""
    write_table(tmp_path, "questions.toml", "pr_questions_prompt", system="{{ unheard_of }}")
    write_table(tmp_path, "..data/d.toml", "pr_description_prompt", system="copy", user="copy")
    (tmp_path / "notes.md").write_text("no TOML", encoding="utf-8")

    assert make_set(tmp_path).tools == (Tool.DESCRIBE,)


def test_a_set_can_be_sent_to_a_worker(tmp_path: Path) -> None:
    """A prompt set survives pickling and renders the same afterwards."""
    prompt_set = make_set(tmp_path)
    variables = build_variables(PR, Tool.DESCRIBE, prompt_set, {})
    copy = pickle.loads(pickle.dumps(prompt_set))  # noqa: S301 - our own bytes

    assert copy.render(Tool.DESCRIBE, variables) == prompt_set.render(Tool.DESCRIBE, variables)


@pytest.mark.parametrize(
    ("user", "words"),
    [
        pytest.param("{{ unheard_of }}", ["d.toml", "user", "`unheard_of`"], id="unknown variable"),
        pytest.param("{% if x %}", ["pr_description_prompt.user", "line 1"], id="syntax"),
        pytest.param("{{ title|shout }}", ["shout"], id="unknown filter"),
        pytest.param("{% include 'x' %}", ["must not load other templates"], id="include"),
    ],
)
def test_bad_templates_fail_when_loaded(tmp_path: Path, user: str, words: list[str]) -> None:
    """The error comes before the first row and names file, table, key and cause."""
    with pytest.raises(InputError) as caught:
        make_set(tmp_path, user)

    assert [word for word in words if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("user", "cause"),
    [
        pytest.param("{{ title.__class__.__mro__ }}", "unsafe", id="escape"),
        pytest.param("{{ title + 1 }}", "str", id="type"),
        pytest.param("{{ title.missing.part }}", "missing", id="attribute"),
    ],
)
def test_bad_expressions_fail_as_input(tmp_path: Path, user: str, cause: str) -> None:
    """A template cannot reach Python's internals, and its failures are the user's to correct."""
    prompt_set = make_set(tmp_path, user)

    with pytest.raises(InputError, match=cause):
        prompt_set.render(Tool.DESCRIBE, {"title": "t"})
    with pytest.raises(InputError, match=cause):
        build_variables(PR, Tool.DESCRIBE, prompt_set, {})


def test_a_tested_variable_may_be_absent(tmp_path: Path) -> None:
    """`is defined` makes an unknown variable legal."""
    prompt_set = make_set(tmp_path, "{% if extra is defined %}{{ extra }}{% endif %}x")

    assert prompt_set.render(Tool.DESCRIBE, {}).user == "x"


def test_the_run_may_add_variables(tmp_path: Path) -> None:
    """A variable of the user's own is known when the run sets it."""
    write_table(tmp_path, "d.toml", "pr_description_prompt", system="{{ team }}", user="u")
    prompt_set = load_prompt_set(tmp_path, extra_variables={"team"})
    variables = build_variables(PR, Tool.DESCRIBE, prompt_set, {"team": "core"})

    assert prompt_set.render(Tool.DESCRIBE, variables).system == "core"


def test_unusable_folders_are_refused(tmp_path: Path) -> None:
    """An absent folder, one without tables, and a broken file each have their message."""
    with pytest.raises(InputError, match="must be a folder"):
        load_prompt_set(tmp_path / "absent")
    with pytest.raises(InputError, match="must have one of the tables"):
        load_prompt_set(tmp_path)
    (tmp_path / "x.toml").write_text("[pr_review_prompt\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"x\.toml must be a readable TOML file"):
        load_prompt_set(tmp_path)
    (tmp_path / "x.toml").write_text("[pr_review_prompt]\nsystem = 'S'\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"`pr_review_prompt\.user` in x\.toml must be a string"):
        load_prompt_set(tmp_path)
    (tmp_path / "x.toml").write_text("language_extension_map_org = 1\n", encoding="utf-8")
    with pytest.raises(InputError, match="must be a table of lists of extensions"):
        load_prompt_set(tmp_path)


def test_a_table_in_two_files_is_refused(tmp_path: Path) -> None:
    """Nobody has to guess which of two files counts."""
    write_table(tmp_path, "old/d.toml", "pr_description_prompt", system="S", user="U")

    with pytest.raises(InputError, match=r"d\.toml and old/d\.toml"):
        make_set(tmp_path)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        pytest.param("format = '2030'", "`format`", id="unknown format"),
        pytest.param("format = 'HEAD'", "got 'HEAD'", id="other format than the variables"),
        pytest.param("license = 'MIT'", "`license`", id="unknown key"),
        pytest.param("[diff]\nmax_tokens = 1", "`diff.max_tokens`", id="unknown setting"),
        pytest.param(
            "[diff]\nallow_dynamic_context = true", "layout 2024", id="setting of the other layout"
        ),
        pytest.param("[diff]\npatch_extra_lines = -1", "greater than", id="value out of bounds"),
    ],
)
def test_metadata_is_checked(tmp_path: Path, text: str, cause: str) -> None:
    """`promptset.toml` may not say what is not so."""
    (tmp_path / "promptset.toml").write_text(text, encoding="utf-8")

    with pytest.raises(InputError, match=cause):
        make_set(tmp_path)


def test_missing_tables_are_named(tmp_path: Path) -> None:
    """A set without a tool loads, and says which table is missing when it is asked."""
    prompt_set = make_set(tmp_path)

    assert not prompt_set.has_evaluate
    with pytest.raises(InputError, match="pr_review_prompt"):
        prompt_set.render(Tool.REVIEW, {})
    with pytest.raises(InputError, match="pr_evaluate_prompt"):
        prompt_set.render_evaluate("", "", "")


def test_values_are_not_templates(tmp_path: Path) -> None:
    """Braces in a pull request stay what they are."""
    prompt_set = make_set(tmp_path, "{{ description }}|{{ commit_messages_str }}")
    variables = build_variables(PR, Tool.DESCRIBE, prompt_set, {})

    assert prompt_set.render(Tool.DESCRIBE, variables).user == (
        "Reserved items {{ are }} not free.|1. Reserve\n2. Test"
    )


def test_long_texts_are_clipped(tmp_path: Path) -> None:
    """What has over 500 tokens is cut to nine tenths of them, with a note, and named."""
    pr = PR.model_copy(update={"description": "word " * 600, "commits": ("word " * 600,)})
    prompt_set = make_three_tools(tmp_path)
    task = build_task(pr, Tool.REVIEW, prompt_set, {})

    # The space at the end is a token of its own.
    assert task.variables["description"] == ("word " * 600)[: int(0.9 * 3000 / 601 * 500)] + NOTE
    assert str(task.variables["commit_messages_str"]).endswith(NOTE)
    assert task.clipped == ("description", "commit_messages_str")
    assert build_task(pr, Tool.REVIEW, prompt_set, {}, hide_human_text=True).clipped == ()


def test_short_texts_are_whole(tmp_path: Path) -> None:
    """Describe strips the description, and that is no cut."""
    pr = PR.model_copy(update={"description": "  text\n"})
    tasks = [build_task(pr, tool, make_three_tools(tmp_path), {}) for tool in Tool]

    assert [task.variables["description"] for task in tasks] == ["text", "  text\n", "  text\n"]
    assert [task.clipped for task in tasks] == [(), (), ()]


@pytest.mark.parametrize(
    ("metadata", "whole"),
    [
        pytest.param("", False, id="PR-Agent's limits"),
        pytest.param("[diff]\nmax_model_tokens = 0\nmax_context_tokens = 0", True, id="none"),
    ],
)
@pytest.mark.parametrize("tool", Tool)
def test_the_set_says_how_long_a_prompt_may_be(
    tmp_path: Path, metadata: str, tool: Tool, *, whole: bool
) -> None:
    """Over the limit the diff is cut, and the facts say so."""
    long = ChangedFile(path="long.py", patch="@@ -1 +1 @@\n" + "+line\n" * 12_000)
    pr = PR.model_copy(update={"files": (*PR.files, long)})
    (tmp_path / "promptset.toml").write_text(metadata, encoding="utf-8")
    task = build_task(pr, tool, make_three_tools(tmp_path), {})

    assert task.diff.is_whole is whole
    assert ("+line\n" * 12_000 in str(task.variables["diff"])) is (
        whole and tool is not Tool.IMPROVE
    )


def test_the_builtin_sets_never_cut_a_diff() -> None:
    """Ours have no limit, show every file, and add nothing to the patches."""
    expected = Options2024(
        patch_extra_lines=0, max_model_tokens=0, max_context_tokens=0, select_files=False
    )
    found = [load_prompt_set(builtin_prompts_dir() / name).diff for name in ("default", "compact")]

    assert found == [expected, expected]


def test_settings_for_diffs_are_read(tmp_path: Path) -> None:
    """The table `[diff]` has PR-Agent's names, and those of the set's own generation."""
    (tmp_path / "promptset.toml").write_text(
        "[diff]\npatch_extra_lines_before = 2\npatch_extension_skip_types = ['.x']",
        encoding="utf-8",
    )
    prompt_set = make_head_set(tmp_path, not_decoupled=True)

    assert prompt_set.diff == OptionsHead(
        patch_extra_lines_before=2, patch_extension_skip_types=(".x",)
    )


def test_a_table_of_languages_decides_the_order(tmp_path: Path) -> None:
    """PR-Agent's settings folder says which files are of which language."""
    (tmp_path / "languages.toml").write_text(
        "[language_extension_map_org]\nOdd = ['.odd']\n", encoding="utf-8"
    )
    files = [ChangedFile(path=f"a.{end}", patch="@@ -1 +1 @@\n+b") for end in ("py", "odd")]
    pr = PR.model_copy(update={"files": tuple(files), "languages": {"Odd": 1}})
    diff = str(build_variables(pr, Tool.DESCRIBE, make_set(tmp_path), {})["diff"])

    assert diff.index("a.odd") < diff.index("a.py")


def test_human_text_is_hidden() -> None:
    """Where people wrote the answer, the prompt shows none of their text and asks for no files."""
    prompt_set = load_prompt_set(builtin_prompts_dir() / "default")
    variables = build_variables(PR, Tool.DESCRIBE, prompt_set, {}, hide_human_text=True)
    messages = prompt_set.render(Tool.DESCRIBE, variables)

    assert "Reserve" not in messages.user
    assert "pr_files" not in messages.system
    assert not asks_for_files(prompt_set, {}, hide_human_text=True)


def test_files_are_asked_for_by_default() -> None:
    """A prompt set that knows the switch asks for files unless the run turns it off."""
    prompt_set = load_prompt_set(builtin_prompts_dir() / "default")

    assert asks_for_files(prompt_set, {})
    assert not asks_for_files(prompt_set, {"enable_semantic_files_types": False})


@pytest.mark.parametrize(
    ("overrides", "cause"),
    [
        pytest.param({"diff": "x"}, "comes from each pull request", id="content"),
        pytest.param({"num_code_sugestions": 3}, "no template reads", id="typo"),
        pytest.param({"num_code_suggestions": "many"}, "a whole number", id="word for a number"),
        pytest.param({"require_tests": 1}, "true or false", id="number for a switch"),
    ],
)
def test_bad_overrides_are_refused(overrides: dict[str, Value], cause: str) -> None:
    """A setting that would do nothing, or the wrong thing, is an error."""
    prompt_set = load_prompt_set(builtin_prompts_dir() / "default")

    with pytest.raises(InputError, match=cause):
        build_variables(PR, Tool.REVIEW, prompt_set, overrides)


def test_2024_numbers_lines_for_improve_only() -> None:
    """Describe and Review see the plain diff."""
    prompt_set = load_prompt_set(builtin_prompts_dir() / "default")
    numbered = {
        tool
        for tool in Tool
        if "__new hunk__" in str(build_variables(PR, tool, prompt_set, {})["diff"])
    }

    assert numbered == {Tool.IMPROVE}


@pytest.mark.parametrize("not_decoupled", [True, False])
def test_head_sets_render(tmp_path: Path, *, not_decoupled: bool) -> None:
    """HEAD's variables have their defaults, and Improve follows the system prompt there is."""
    prompt_set = make_head_set(tmp_path, not_decoupled=not_decoupled)
    describe, review, improve = (
        prompt_set.render(tool, build_variables(PR, tool, prompt_set, {})) for tool in Tool
    )

    assert prompt_set.format == "HEAD"
    assert describe.system.strip() == "True True False"
    assert " ".join(review.system.split()) == "2026-01-01 3 False True False False 1 False True"
    assert "1 +b" in review.user
    assert describe.user == "\n\n## File: 'stock.py'\n\n@@ -1 +1 @@\n-a\n+b\n"
    if not_decoupled:
        assert improve.system == "2026-01-01 True 3"
        assert improve.user == describe.user
    else:
        assert improve.system == "decoupled"
        assert improve.user.endswith("__new hunk__\n+b\n__old hunk__\n-a")


def test_check_reports_every_prompt() -> None:
    """The report has each tool's length and variables, and the judge's prompt."""
    report = check_prompt_set(builtin_prompts_dir() / "default")

    assert set(report.tools) == set(Tool)
    assert report.diff["max_model_tokens"] == 0
    assert report.tools[Tool.IMPROVE].variables == (
        "diff",
        "extra_instructions",
        "num_code_suggestions",
        "title",
    )
    assert report.evaluate is not None
    assert report.evaluate.characters > report.evaluate.scaffold_characters > 0
