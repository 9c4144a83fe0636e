"""Names that the operator gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tunebench_operator.names import base_slug, child_name, slug

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=120)


@given(NAMES, NAMES)
def test_different_texts_have_different_slugs(left: str, right: str) -> None:
    """A slug never makes two stages one, except that a slash is written as a dash."""
    same = left.replace("/", "-") == right.replace("/", "-")

    assert same or slug(left) != slug(right)


@given(NAMES)
def test_a_child_name_is_a_label(text: str) -> None:
    """A child name fits a Kubernetes label value."""
    name = child_name(f"train/{text}", "0123456789abcdef", 1)

    assert len(name) <= 63
    assert all(letter.isascii() and (letter.isalnum() or letter == "-") for letter in name)


def test_the_slug_of_a_base_is_the_readable_end_of_its_id() -> None:
    """The group of a base is called after the model, not after the publisher or the folder."""
    assert base_slug("Qwen/Qwen2.5-Coder-7B") == "qwen2-5-coder-7b"
    assert base_slug("/models/tiny/") == "tiny"
