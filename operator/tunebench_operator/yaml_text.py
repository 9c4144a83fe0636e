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
    """Quotes text that kubectl would read as a number."""


for _side in (_Loader, _Dumper):
    _side.add_implicit_resolver(_FLOAT_TAG, _FLOAT, _FLOAT_STARTS)


def parse_yaml(text: str) -> Any:
    """Return the values of one YAML document.

    Raises:
        yaml.YAMLError: The text is no YAML, or repeats a key.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - derived from SafeLoader


def build_yaml(document: Any) -> str:
    """Return YAML that kubectl and `parse_yaml` read back as the same values."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
