"""YAML as kubectl reads it: a file means the same here and in a cluster.

PyYAML takes `2e-4` for text where kubectl takes it for a number, and lets the last of two equal
keys win without a word.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_FLOAT_TAG = "tag:yaml.org,2002:float"
_FLOAT = re.compile(r"^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$")
_FLOAT_STARTS = list("-+.0123456789")
# A run of 64 models has some thousands; aliases make billions out of ten lines.
MAX_VALUES = 1_000_000


class _Loader(yaml.SafeLoader):
    """Reads numbers as kubectl does, and refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT001, FBT002 - the signature of PyYAML
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key.value}` must not stand twice", key.start_mark
                )
            if isinstance(key, yaml.ScalarNode):
                seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Quotes text that kubectl would read as a number, and repeats what aliases would stand for."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        """Whether a value is written out wherever it stands: always."""
        return True


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(_FLOAT_TAG, _FLOAT, _FLOAT_STARTS)


def _count_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node stands for, with what its aliases repeat.

    Raises:
        yaml.YAMLError: There are too many, or it contains itself.
    """
    if id(node) in known:
        if not known[id(node)]:
            raise yaml.YAMLError(f"an alias must not stand for what it is in{node.start_mark}")
        return known[id(node)]
    known[id(node)] = 0
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [part for pair in node.value for part in pair]
    count = 1 + sum(_count_values(each, known) for each in inner)
    if count > MAX_VALUES:
        raise yaml.YAMLError(
            f"it must have at most {MAX_VALUES} values, got more from aliases{node.start_mark}"
        )
    known[id(node)] = count
    return count


def parse_yaml(text: str) -> Any:
    """Return the values of one YAML document.

    Raises:
        yaml.YAMLError: The text is no YAML, repeats a key, nests too deep, or its aliases make too
            much of it.
    """
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count_values(node, {})
        return loader.construct_document(node)
    except RecursionError:
        raise yaml.YAMLError("it must not nest so deep") from None
    finally:
        loader.dispose()


def build_yaml(document: Any) -> str:
    """Return YAML that kubectl and `parse_yaml` read back as the same values."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
