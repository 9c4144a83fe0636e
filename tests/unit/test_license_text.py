"""A licence is recognised by its text, and nothing is taken for one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tunebench_jobs.data.license_text import detect_license, find_license, is_license_name

APACHE = (Path(__file__).parents[2] / "LICENSE").read_text(encoding="utf-8")
MIT = """MIT License

Copyright (c) 2024 Ada

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
COMMONS_CLAUSE = """"Commons Clause" License Condition v1.0

The Software is provided to you by the Licensor under the License, as defined below, subject to
the following condition. Without limiting other conditions in the License, the grant of rights
under the License will not include, and the License does not grant to you, the right to Sell the
Software. For purposes of the foregoing, "Sell" means practicing any or all of the rights granted
to you under the License to provide to third parties, for a fee or other consideration.
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(MIT, "MIT", id="MIT"),
        pytest.param(MIT.replace("\n", "\r\n").upper(), "MIT", id="other layout"),
        pytest.param(MIT + COMMONS_CLAUSE, None, id="with a condition behind it"),
        pytest.param(APACHE, "Apache-2.0", id="Apache"),
        pytest.param(f"{MIT}\n---\n{APACHE}", None, id="two in one file"),
        pytest.param("SPDX-License-Identifier: MIT OR Apache-2.0\n", "MIT OR Apache-2.0", id="tag"),
        pytest.param("SPDX-License-Identifier: Nonsense-1\n", None, id="unknown tag"),
        pytest.param("All rights reserved.", None, id="none"),
        pytest.param("", None, id="empty"),
    ],
)
def test_text_tells_the_licence(text: str, expected: str | None) -> None:
    """A text that says more than a licence is not that licence."""
    assert detect_license(text) == expected


def test_several_files_are_all_meant() -> None:
    """All licences hold, and one that is unknown makes all unknown."""
    assert find_license({"LICENSE-MIT": MIT, "LICENSE-APACHE": APACHE}) == "Apache-2.0 AND MIT"
    assert find_license({"LICENSE": MIT, "COPYING": MIT}) == "MIT"
    assert find_license({"LICENSE": MIT, "LICENSE-EE": "Ask us."}) is None
    assert find_license({}) is None


@pytest.mark.parametrize(
    ("name", "is_license"),
    [
        ("LICENSE", True),
        ("License.md", True),
        ("LICENCE.txt", True),
        ("COPYING.LESSER", True),
        ("UNLICENSE", True),
        ("docs/LICENSE", False),
        ("license.py", False),
        ("LICENSE.json", False),
        ("licenses", False),
    ],
)
def test_licence_files_are_known_by_name(name: str, *, is_license: bool) -> None:
    """Only at the root, and no programs."""
    assert is_license_name(name) == is_license
