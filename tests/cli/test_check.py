"""`mirrord check` from outside: what it prints where, and its exit codes; nobody answers for Kodo here."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import programs

NOBODY = "http://127.0.0.1:9"  # the port that discards: nobody listens


def check(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return programs.run(["check", "-c", str(config), *arguments], environment())


def environment() -> dict[str, str]:
    dropped = ("mirrord_", "http_proxy", "https_proxy", "all_proxy", "no_color", "force_color", "columns")
    return {name: value for name, value in os.environ.items() if not name.lower().startswith(dropped)}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings that are usable, for an empty directory and a Kodo that does not answer."""
    (tmp_path / "www").mkdir()
    hosts = ", ".join(f'{service} = "{NOBODY}"' for service in ("uc", "io", "rs", "rsf"))
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        kodo = {{ access_key = "ak", secret_key = "the-secret", hosts = {{ {hosts} }} }}
        mirror = [{{ name = "docs", bucket = "newdocs", source = {{ kind = "directory", path = "{tmp_path}/www" }} }}]
        """
    )
    path.chmod(0o600)
    return path


def test_a_kodo_that_does_not_answer_is_an_error(config: Path) -> None:
    ended = check(config, "--online")

    assert ended.returncode == 1
    assert "no mistake in the file itself, but see below" in ended.stdout
    assert "usable" not in ended.stdout
    assert re.search(r"docs +stat +ERROR +could not be asked", ended.stdout)
    assert " ".join(ended.stdout.split()).count("see what is between this machine and Kodo") == 1
    assert "docs, credentials, mirror source, stat: " in ended.stdout
    assert "console" not in ended.stdout
    assert ended.stderr == ""
    assert max(map(len, ended.stdout.partition("docs, ")[0].splitlines()[1:])) <= 80


def test_the_document_has_the_findings_and_nothing_else_is_printed(config: Path) -> None:
    ended = check(config, "--online", "--json")

    document = json.loads(ended.stdout)
    found = {each["subject"]: each for each in document["findings"]}
    assert ended.returncode == 1
    assert found["stat"].keys() == {"mirror", "subject", "level", "says", "advice", "reqid"}
    assert {subject: each["level"] for subject, each in found.items()} == {
        "region": "ok",  # pinned
        "credentials": "warning",
        "mirror source": "warning",
        "stat": "error",
    }
    assert document["mirrors"] == ["docs"]
    assert ended.stderr == ""


FEEDS = """
[kodo]
access_key = "ak"
secret_key = "the-secret"
hosts = { uc = "http://127.0.0.1:9", io = "http://127.0.0.1:9", rs = "http://127.0.0.1:9", rsf = "http://127.0.0.1:9" }
[[mirror]]
name = "pages"
bucket = "pages"
origin_url = "http://127.0.0.1:9"
[mirror.source]
kind = "feed"
format = "sitemap"
url = "http://127.0.0.1:9/sitemap.xml?key=not-to-be-shown"
[[mirror]]
name = "uploads"
bucket = "uploads"
[mirror.source]
kind = "feed"
format = "webhook"
listen = "127.0.0.1:9479"
token = "not-to-be-shown"
hmac_secret = "not-to-be-shown"
"""


def test_a_feed_is_asked_online_alone_and_one_that_is_posted_is_told_where_to(config: Path) -> None:
    config.write_text(FEEDS, "utf-8")

    offline, online = check(config), check(config, "--online", "--json")

    feeds = {each["mirror"]: each for each in json.loads(online.stdout)["findings"] if each["subject"] == "feed"}
    assert (offline.returncode, offline.stderr) == (0, "")
    assert feeds["pages"]["level"] == "error"
    assert feeds["pages"]["says"] == "no connection to 127.0.0.1:9: connection refused"
    assert feeds["uploads"]["level"] == "ok"
    assert feeds["uploads"]["says"] == (
        "is to be posted to http://127.0.0.1:9479/hooks/uploads "
        "with `Authorization: Bearer …` and the HMAC-SHA256 in X-Hub-Signature-256"
    )
    assert "not-to-be-shown" not in online.stdout + online.stderr


def test_offline_the_same_settings_are_right(config: Path) -> None:
    ended = check(config, "--json")

    assert ended.returncode == 0
    assert json.loads(ended.stdout).keys() == {"file", "secret_from", "mirrors", "warnings", "problems"}


def test_a_source_that_cannot_be_read_is_a_mistake_of_the_settings(config: Path) -> None:
    config.with_name("www").rmdir()

    ended = check(config, "--online")

    assert ended.returncode == 78
    assert "mirror[0].source.path" in ended.stderr
    assert "usable" not in ended.stdout
    assert "ERROR" in ended.stdout


def test_settings_that_are_none_are_not_held_against_kodo(config: Path) -> None:
    config.write_text("kodo = {}", "utf-8")

    ended = check(config, "--online")

    assert ended.returncode == 78
    assert ended.stdout == ""


def test_on_a_terminal_an_error_is_red(config: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "mirrord", "check", "--online", "-c", str(config)]
    ended = subprocess.Popen(command, env=environment() | {"TERM": "xterm"}, stdout=theirs)
    os.close(theirs)

    shown = b""
    try:
        while some := os.read(ours, 4096):
            shown += some
    except OSError:  # EIO: the other end is closed
        pass
    os.close(ours)

    assert ended.wait(60) == 1
    assert b"\x1b[1;31mERROR" in shown
