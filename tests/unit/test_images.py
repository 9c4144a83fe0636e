"""What builds the images of the tests, as far as it needs no builder."""

from __future__ import annotations

from pathlib import Path

import pytest
from cpu_torch import find_pins, is_owner, split_symbol
from images import REPOSITORY, CannotBuildError, build_secrets, require


def test_settings_of_the_machine_are_lent(tmp_path: Path) -> None:
    """A build sees index, proxy and certificates of the machine, and no other variable."""
    (tmp_path / "ca.pem").write_text("certificates")
    environment = {
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "UV_DEFAULT_INDEX": "https://user:it's@index.example/simple",
        "https_proxy": "http://proxy.example",
        "API_KEY": "not for builds",
    }

    with build_secrets(environment) as secrets:
        lines = secrets["settings"].read_text().splitlines()
        certificates = secrets["ca"].read_text()
        modes = {path.parent.stat().st_mode & 0o777 for path in secrets.values()}

    assert """export UV_DEFAULT_INDEX='https://user:it'"'"'s@index.example/simple'""" in lines
    assert "export https_proxy=http://proxy.example" in lines
    assert "export SSL_CERT_FILE=/run/secrets/ca" in lines
    assert not [line for line in lines if "API_KEY" in line]
    assert certificates == "certificates"
    assert modes == {0o700}
    assert [path for path in secrets.values() if path.exists()] == []


def test_a_missing_program_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever lacks a program reads which package has it."""
    monkeypatch.setenv("PATH", "")

    with pytest.raises(CannotBuildError, match="`buildah` must be on PATH; install the package"):
        require("buildah")


def test_pins_keep_their_hashes() -> None:
    """What stands in for PyTorch's CPU wheel is the public one, to the byte."""
    pins = find_pins(REPOSITORY / "requirements" / "jobs.txt", ("torch", "nvidia-cuda-cupti"))
    names = [line.split("==")[0] for line in pins.splitlines() if not line.startswith(" ")]

    assert names == ["torch", "nvidia-cuda-cupti"]
    assert pins.count("--hash=sha256:") >= 2
    assert ";" not in pins


@pytest.mark.parametrize(
    ("library", "symbol", "owned"),
    [
        pytest.param("libcublas.so.13", "cublasCreate_v2@libcublas.so.13", True, id="its own"),
        pytest.param(
            "libcublas.so.13", "cublasLtCreate@libcublasLt.so.13", False, id="longer name"
        ),
        pytest.param("libcudnn.so.9", "cudnnCreate", True, id="without a version"),
        pytest.param(
            "libnvJitLink.so.13", "__x@libnvJitLink.so.13", True, id="by the version alone"
        ),
        pytest.param("libcublas.so.13", "memcpy@GLIBC_2.14", False, id="the system's"),
    ],
)
def test_a_symbol_belongs_to_one_library(library: str, symbol: str, *, owned: bool) -> None:
    """Each stand-in has the symbols of the library that it stands in for."""
    assert is_owner(library, *split_symbol(symbol)) is owned
