"""YAML means here what it means to kubectl."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tunebench_operator.yaml_text import build_yaml, parse_yaml

# PyYAML folds the line breaks of Unicode; no manifest has them.
PLAIN = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("2e-4", 2e-4, id="exponent without a point"),
        pytest.param("1.5e3", 1500.0, id="exponent without a sign"),
        pytest.param(".5", 0.5, id="no digit before the point"),
        pytest.param("7", 7, id="whole number"),
        pytest.param('"2e-4"', "2e-4", id="quoted"),
        pytest.param("1.2.3", "1.2.3", id="version"),
        pytest.param("e5", "e5", id="word"),
    ],
)
def test_numbers(text: str, value: object) -> None:
    """What looks like a number to kubectl is one."""
    assert parse_yaml(f"key: {text}") == {"key": value}


@pytest.mark.parametrize("text", ["2e-4", "1.5e3", "1E5", "+.5", "7", "null", "yes", "0.1"])
def test_text_stays_text(text: str) -> None:
    """Text that looks like something else is written in quotes."""
    assert build_yaml([text]) == f"- '{text}'\n"


@given(st.dictionaries(PLAIN, PLAIN | st.integers() | st.booleans() | st.none()))
def test_written_values_are_read_back(document: dict[str, object]) -> None:
    """Plain values keep their type and value on the way through a file."""
    assert parse_yaml(build_yaml(document)) == document


def test_repeated_key_is_refused() -> None:
    """A key that stands twice is named, with its line, instead of one value winning."""
    with pytest.raises(yaml.YAMLError, match="the key `epochs` must not stand twice") as caught:
        parse_yaml("tuning:\n  epochs: 1\n  epochs: 2\n")

    assert "line 3" in str(caught.value)


def test_merge_keys_may_be_overridden() -> None:
    """An anchor's values may be replaced by those that stand beside it."""
    document = parse_yaml("base: &base {a: 1}\nother: {<<: *base, a: 2}\n")

    assert document["other"] == {"a": 2}


def test_aliases_cannot_make_much_out_of_little() -> None:
    """Ten lines that stand for billions of values are refused before they are built."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]

    with pytest.raises(yaml.YAMLError, match="aliases"):
        parse_yaml("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("a: &x [*x]", "what it is in", id="contains itself"),
        pytest.param("[" * 1500, "nest so deep", id="deep"),
        pytest.param("{" * 1500 + "}" * 1500, "nest so deep", id="deep and closed"),
    ],
)
def test_what_has_no_end_is_refused(text: str, words: str) -> None:
    """The message says what is wrong, not which function of ours gave up."""
    with pytest.raises(yaml.YAMLError, match=words):
        parse_yaml(text)


def test_an_alias_stands_for_its_value() -> None:
    """Modest use of aliases goes on working."""
    assert parse_yaml("a: &x {b: 1}\nc: *x") == {"a": {"b": 1}, "c": {"b": 1}}
    assert parse_yaml("") is None
