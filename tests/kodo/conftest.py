"""No proxy but a test's own, and certificates that this process trusts or does not."""

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.kodo.raw_server import OK, Server, saying, serving, tls_for

Trusted = Callable[[str], AbstractContextManager[Server]]


@pytest.fixture(autouse=True)
def no_proxy_unless_the_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trusted:
    """Servers whose certificate this process trusts, made out to a given name such as `IP:127.0.0.1`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed here")

    def start(name: str) -> AbstractContextManager[Server]:
        tls, certificate = tls_for(tmp_path, name)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        return serving(saying(OK), tls)

    return start
