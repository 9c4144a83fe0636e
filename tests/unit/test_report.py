"""What the report says, before any browser sees it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_report import make_material
from markupsafe import Markup

from tunebench_api.reliability import Doubt, Reliability
from tunebench_api.v1alpha1 import Control
from tunebench_jobs.report.board import build_board, build_changes
from tunebench_jobs.report.charts import draw_interval
from tunebench_jobs.report.costs import build_costs
from tunebench_jobs.report.curve_chart import At, draw_curve, format_short
from tunebench_jobs.report.embed import build_script
from tunebench_jobs.report.material import Material, Training
from tunebench_jobs.report.panel import list_other_warnings
from tunebench_jobs.report.published_2024 import (
    Focus,
    Form,
    build_lineage,
    find_focus,
    find_form,
    load_published,
)
from tunebench_jobs.report.questions import build_questions
from tunebench_jobs.report.render import render_report
from tunebench_jobs.report.samples import BLOCK_TASKS, build_blocks, build_index
from tunebench_jobs.report.svg import build_scale
from tunebench_jobs.report.trainings import build_curves
from tunebench_jobs.report.words import finalize, show_hidden
from tunebench_jobs.score.results import Rate, Warned
from tunebench_jobs.train.curve import CurvePoint


@pytest.fixture(scope="module")
def material() -> Material:
    """Return a small synthetic run."""
    return make_material(models=7, prs=6, untuned=2)


class _Page(HTMLParser):
    """Collects the elements of a page, and complains of what is never closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep ids, targets and what would be loaded."""
        given = dict(attrs)
        if tag not in {"meta", "input", "br", "line", "circle", "rect", "path"}:
            self.open.append(tag)
        if identity := given.get("id"):
            self.ids.append(identity)
        if tag == "a" and (target := given.get("href")):
            self.targets.append(target)
        self.loads += [str(given[name]) for name in ("src", "srcset", "data") if name in given]
        assert tag not in {"link", "img", "iframe", "object", "embed"}
        assert not any(name.startswith("on") or name == "style" for name in given)

    def handle_endtag(self, tag: str) -> None:
        """Close what was opened last."""
        if tag not in {"line", "circle", "rect", "path"}:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_loads_nothing(material: Material) -> None:
    """Every element is closed, ids are unique, links lead somewhere, and nothing is outside."""
    page = _Page()
    page.feed(render_report(material))

    assert page.open == []
    assert len(page.ids) == len(set(page.ids))
    assert page.loads == []
    for target in page.targets:
        assert target.startswith("#samples") or target[1:] in page.ids, target


def test_the_same_run_gives_the_same_page(material: Material) -> None:
    """No clock and no order of chance is in it."""
    assert render_report(material) == render_report(make_material(models=7, prs=6, untuned=2))


def test_a_run_that_says_little_has_a_report(material: Material) -> None:
    """Without un-tuned models, trainings, titles, funnel or agreement the page still stands."""
    variant, *_ = material.variants
    results = material.results.model_copy(
        update={
            "variants": tuple(
                row.model_copy(update={"untuned": None, "win_rate": None, "delta": None})
                for row in material.results.variants
                if row.name == variant.spec.name
            ),
            "agreement": (),
            "funnel": (),
            "contamination": None,
            "ranking": None,
            "panel_agreement": None,
            "prompts": {},
            "inputs": {},
        }
    )
    bare = replace(
        material, results=results, variants=[variant], trainings={}, pulls={}, data={}, files=()
    )
    text = render_report(bare)

    assert "The data stage did not say" in text
    assert "Nothing says whether training was kept apart" in text
    assert 'id="impact"' not in text
    assert 'id="training"' not in text


def test_models_stand_in_the_groups_of_2024(material: Material) -> None:
    """Large models, small ones, the un-tuned and the controls, each by their rate."""
    board = build_board(material)
    groups = {group.title: [row.result for row in group.rows] for group in board.groups}

    assert list(groups) == ["Large models", "Small models", "Before fine-tuning", "Controls"]
    assert len(groups["Large models"]) == 6
    assert [row.name for row in groups["Small models"]] == ["codeqwen1.5-7b"]
    rates = [row.win_rate.pct for row in groups["Large models"] if row.win_rate]
    assert rates == sorted(rates, reverse=True)
    assert {row.control for row in groups["Controls"]} == {Control.NULL, Control.SELF}


def test_published_numbers_are_found_by_id(material: Material) -> None:
    """The rate of 2024 stands beside the model of the same Hugging Face id, un-tuned or tuned."""
    rows = {row.result.name: row for group in build_board(material).groups for row in group.rows}

    assert rows["deepseek-coder-33b-instruct"].published == 40.7
    assert rows["deepseek-coder-33b-instruct-untuned"].published == 3.6
    assert rows["deepseek-coder-33b-base-untuned"].published is None
    assert rows["null-control"].published is None
    _, changes = build_changes(material)
    (both,) = [each for each in changes if each.published_before is not None]
    assert (both.published_before, both.published_after) == (3.6, 40.7)


def test_the_public_table_is_whole() -> None:
    """14 models, six of them large, with the rates in falling order of each group."""
    models = load_published().models
    large = [each for each in models if each.size_billions > 15]

    assert (len(models), len(large)) == (14, 6)
    assert load_published().find("DeepSeek-AI/deepseek-coder-33b-INSTRUCT") == models[0]
    assert load_published().find(None) is None


@pytest.mark.parametrize(
    ("base", "focus", "form"),
    [
        ("Qwen/Qwen2.5-Coder-7B-Instruct", Focus.CODE, Form.INSTRUCT),
        ("Qwen/Qwen2.5-7B", Focus.GENERAL, Form.BASE),
        ("google/gemma-2-9b-it", Focus.GENERAL, Form.INSTRUCT),
        ("bigcode/starcoder2-15b", Focus.CODE, Form.BASE),
        ("mistralai/Codestral-22B-v0.1", Focus.CODE, Form.INSTRUCT),
    ],
)
def test_kinds_of_bases(base: str, focus: Focus, form: Form) -> None:
    """The public table decides, and else the words of the id."""
    assert (find_focus(base), find_form(base)) == (focus, form)


def test_siblings_have_one_lineage() -> None:
    """Base and instruct of one model are told as such, and other models apart."""
    base, instruct, other = (
        build_lineage(f"deepseek-ai/deepseek-coder-{each}")
        for each in ("33b-base", "33b-instruct", "7b-instruct-v1.5")
    )

    assert base == instruct != other


def test_questions_are_answered_from_the_numbers(material: Material) -> None:
    """Each of the benchmark's questions has an answer where the run has models for it."""
    questions = {each.title: each for each in build_questions(material)}

    assert list(questions) == [
        "Does fine-tuning matter?",
        "Which model?",
        "A model made for code, or a general one?",
        "Start from base, or from instruct?",
        "Do the judges agree on the ranking?",
    ]
    assert "2 of 2 models" in questions["Does fine-tuning matter?"].answer
    siblings = [
        detail
        for detail in questions["Start from base, or from instruct?"].details
        if "same model in both forms" in detail
    ]
    assert len(siblings) == 1
    assert "deepseek-coder-33b-base" in siblings[0]
    assert len(questions["A model made for code, or a general one?"].strips) == 2


def test_what_is_said_twice_is_shown_once(material: Material) -> None:
    """A doubt stands for the warnings that say the same of the same judge, and for no others."""
    one, other = (
        Warned(reason="NullControlWins", message=f"judge `{judge}` prefers a constant answer")
        for judge in ("judge-a", "judge-b")
    )
    doubt = Doubt(reason="NullControlWins", message="it does", judge="judge-a")
    reliability = Reliability(reliable=False, judges=("judge-a", "judge-b"), doubts=(doubt,))
    update = {"warnings": (one, other), "reliability": reliability}

    assert list_other_warnings(material.results.model_copy(update=update)) == [other]


def test_costs_are_added_up_as_far_as_they_are_known(material: Material) -> None:
    """What has no price makes the sum a lower bound; GPU hours leave out who does not say."""
    known = build_costs(material)
    judges = list(material.results.judges)
    judges[0] = judges[0].model_copy(update={"cost_usd": None})
    part = build_costs(
        replace(
            material,
            results=material.results.model_copy(update={"judges": tuple(judges)}),
            trainings={"one": Training()},
        )
    )

    assert not known.at_least
    assert known.total == pytest.approx(sum(each.usd or 0 for each in known.rows))
    assert part.at_least
    assert part.total < known.total
    assert (part.gpu_hours, part.unknown_gpus) == (0, 1)


def read_page_data(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the index and the blocks of a page."""
    found = re.findall(r'<script type="application/octet-stream"[^>]*>([^<]*)</script>', text)
    index, *blocks = (json.loads(gzip.decompress(base64.b64decode(each))) for each in found)
    return index, blocks


def test_every_verdict_and_text_is_in_the_page(material: Material) -> None:
    """The index has each verdict as a letter, and the blocks give back each text."""
    index, blocks = read_page_data(render_report(material))
    letters = {"Model": "M", "Baseline": "B", "Tie": "T", "None": "-"}

    assert len(blocks) == -(-len(material.tasks) // BLOCK_TASKS)
    for number, variant in enumerate(material.variants):
        given = {(row.task, row.judge, row.order): row for row in variant.verdicts}
        expected = "".join(letters[str(row.winner)] for row in given.values())
        assert index["verdicts"][number] == expected
    for place, task in enumerate(material.tasks):
        block = blocks[place // BLOCK_TASKS]
        texts = block["tasks"][place % BLOCK_TASKS]
        assert block["strings"][texts["user"]] == task.user
        for number, variant in enumerate(material.variants):
            text = block["strings"][texts["completions"][number]["text"]]
            assert text == variant.completions[place].completion


def test_texts_are_in_a_block_once(material: Material) -> None:
    """What occurs again is a number."""
    for block in build_blocks(material):
        assert len(block["strings"]) == len(set(block["strings"]))


def test_the_index_is_small(material: Material) -> None:
    """It holds no text of a task or a model."""
    index = json.dumps(build_index(material))

    assert material.tasks[0].user[:40] not in index
    assert len(index) < 20_000


@given(values=st.lists(st.decimals(-9999, 9999, places=3).map(float), min_size=1, max_size=9))
def test_a_scale_holds_all_values(values: list[float]) -> None:
    """All values lie on the axis, and its ends are its first and last tick."""
    scale = build_scale(values)

    assert scale.low <= min(values) + 1e-6
    assert scale.high >= max(values) - 1e-6
    assert scale.low < scale.high
    assert (scale.ticks[0], scale.ticks[-1]) == (scale.low, scale.high)
    assert len(scale.ticks) < 12
    assert all(0 <= scale.place(value) <= 100 for value in values)


def test_drawings_escape_their_texts() -> None:
    """A name is no markup, in a text or in an attribute."""
    drawing = draw_curve([At(1, 1.0)], '"><script>&', "loss", build_scale([0, 1]))

    assert "<script" not in drawing
    assert "&quot;&gt;&lt;script&gt;&amp;" in drawing


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.00015, "1.5e-4"), (0.002, "0.002"), (2.5, "2.5"), (12_500.0, "12.5k")],
)
def test_ticks_of_any_size_are_short(value: float, text: str) -> None:
    """There is room for five signs or so."""
    assert format_short(value) == text


def test_curves_of_an_earlier_version_have_no_speed() -> None:
    """What was not kept is left out, and the rest is drawn."""
    old = [CurvePoint(step=step, loss=2.0 / step, learning_rate=0.1, tokens=9) for step in (1, 2)]
    new = [
        CurvePoint(
            step=step,
            loss=1.0,
            learning_rate=0.1,
            tokens=90 * step,
            gradient_norm=0.5,
            seconds=step,
        )
        for step in (1, 2, 3)
    ]
    material = replace(
        make_material(models=1, prs=2, untuned=0),
        trainings={"old": Training(curve=tuple(old)), "new": Training(curve=tuple(new))},
    )
    curves = build_curves(material)

    assert [name for name, _ in curves.loss.drawings] == ["old", "new"]
    assert {panel.title: [name for name, _ in panel.drawings] for panel in curves.others} == {
        "Learning rate": ["old", "new"],
        "Gradient norm": ["new"],
        "Tokens per second": ["new"],
    }
    assert "tokens per second 90 at step 2, 90 at step 3" in curves.others[2].drawings[0][1]


def test_an_interval_without_ends_is_a_point() -> None:
    """Few pull requests have no interval; the drawing does not make one up."""
    drawing = draw_interval(Rate(pct=40), build_scale([0, 100]))

    assert "span" not in drawing
    assert 'cx="40%"' in drawing
    assert "circle" not in draw_interval(None, build_scale([0, 100]))


def test_hidden_characters_are_shown() -> None:
    """What turns text round or cannot be encoded is shown by its number; markup is left alone."""
    assert show_hidden("a\u202eb\ud800\tc\n") == "aU+202EbU+D800\tc\n"
    assert finalize(Markup("\u202e")) == "\u202e"
    assert finalize(7) == 7


def test_the_script_writes_no_markup() -> None:
    """Words of strangers only ever become text."""
    script = build_script()

    assert not re.search(r"^(import|export) ", script, re.MULTILINE)
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "srcdoc",
    ):
        assert word not in script
