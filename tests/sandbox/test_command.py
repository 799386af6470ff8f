"""`mirrord sandbox` as a process: the config it prints, how it ends, what a kill leaves."""

import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from mirrord.kodo.auth import Credentials
from tests.sandbox.conftest import Caller, ScriptedOrigin, held, in_background
from tests.servers import running_sandbox

COMMAND = [sys.executable, "-c", "import typer; from mirrord.cli.sandbox import sandbox; typer.run(sandbox)"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any], Caller]]:
    """The process, the config that it printed, and a caller with the keys of that config."""
    with subprocess.Popen(
        [*COMMAND, "--listen", "127.0.0.1:0", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        printed = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("path ="):
                break
        config = tomllib.loads("".join(printed))
        port = urlsplit(config["kodo"]["hosts"]["uc"]).port
        assert port is not None
        credentials = Credentials(config["kodo"]["access_key"], config["kodo"]["secret_key"])
        try:
            yield process, config, Caller(port, credentials)
        finally:
            process.kill()


def refused(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False, timeout=20)
    assert done.stdout == ""
    return done.returncode, done.stderr


def test_the_config_it_prints_leads_to_it(tmp_path: Path, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    root = str(tmp_path / "k")

    with running("--origin", f"docs={origin.url}", "--root", root, "--secret-key", 'q"\\') as (_, config, caller):
        pulled = caller.prefetch("a")

    assert pulled.status == 200
    assert set(config["kodo"]["hosts"]) == {"uc", "io", "rs", "rsf", "api", "fusion"}
    assert len(set(config["kodo"]["hosts"].values())) == 1
    (mirror,) = config["mirror"]
    assert (mirror["name"], mirror["bucket"], mirror["operation"]) == ("docs", "docs", "prefetch")
    assert mirror["source"]["kind"] == "directory"
    assert caller.credentials.secret_key == 'q"\\'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_every_call_left_a_line(
    tmp_path: Path, origin: ScriptedOrigin, number: signal.Signals
) -> None:
    origin.page("/a", b"hello")
    arguments = ("--origin", f"docs={origin.url}", "--origin", "bare=", "--root", str(tmp_path / "k"))

    with running(*arguments) as (process, _, caller):
        reqids = [caller.prefetch(key).headers["X-Reqid"] for key in ("a", "b")]
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)

    kept, first, second = errors.splitlines()
    assert process.returncode == 0
    assert kept == f"objects are kept in {tmp_path / 'k'}"
    assert " 200 " in first
    assert reqids[0] in first
    assert " 404 " in second
    assert second.endswith("prefetch docs:b httpGet url failed: E404")
    assert reqids[1] in second


def test_a_signal_during_a_pull_ends_it_too(tmp_path: Path, origin: ScriptedOrigin) -> None:
    page = held(origin, "/a", b"hello")

    with running("--origin", f"docs={origin.url}", "--root", str(tmp_path / "k")) as (process, _, caller):
        pulling = in_background(caller, "a")
        page.asked.wait()
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)

    pulling.join()
    assert process.returncode == 0
    assert "Traceback" not in errors


def test_a_kill_during_a_pull_leaves_the_old_object(tmp_path: Path, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"old")
    with running("--origin", f"docs={origin.url}", "--root", str(tmp_path / "k")) as (process, _, caller):
        caller.prefetch("a")
        page = held(origin, "/a", b"new" * 100_000)
        pulling = in_background(caller, "a")
        page.asked.wait()
        process.kill()
        process.communicate(timeout=20)
    pulling.join()

    with running_sandbox(tmp_path / "k", {"docs": origin.url}) as again:
        assert again.read("docs", "a") == b"old"
        assert not list((tmp_path / "k").glob("incoming/*"))


def test_faults_are_given_on_the_command_line(origin: ScriptedOrigin) -> None:
    with running("--origin", f"docs={origin.url}", "--fault", "prefetch:573", "--fault", "stat:599") as (_, _, caller):
        assert (caller.prefetch("a").status, caller.stat("a").status) == (573, 599)


def test_a_bad_day_is_given_on_the_command_line(origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")

    with running("--origin", f"docs={origin.url}", "--throttle", "0.0001:429", "--skew", "-3600") as (_, _, caller):
        answers = [caller.prefetch("a") for _ in range(2)]
    with running("--origin", "docs=", "--frozen") as (_, _, caller):
        frozen = caller.stat("a").status

    behind = datetime.now(UTC) - parsedate_to_datetime(answers[0].headers["Date"])
    assert [answer.status for answer in answers] == [200, 429]
    assert timedelta(minutes=59) < behind < timedelta(minutes=61)
    assert frozen == 419


def test_io_domains_are_left_to_discovery() -> None:
    domains = ["127.0.0.1:9", "127.0.0.1:7"]

    with running("--origin", "docs=", "--io-domain", domains[0], "--io-domain", domains[1]) as (_, config, caller):
        found = caller.ask("GET", "/v4/query?ak=sandbox-access-key&bucket=docs", authorization="")

    assert set(config["kodo"]["hosts"]) == {"uc", "rs", "rsf", "api", "fusion"}
    assert found.json["hosts"][0]["io"] == {"domains": domains}


def test_a_taken_port_is_one_line_and_exit_1(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        code, errors = refused("--origin", "docs=", "--root", str(tmp_path), "--listen", listen)

    assert (code, errors) == (1, f"mirrord sandbox: cannot listen on {listen}: Address already in use\n")


def test_an_address_of_another_machine_is_one_line_and_exit_1(tmp_path: Path) -> None:
    code, errors = refused("--origin", "docs=", "--root", str(tmp_path / "k"), "--listen", "203.0.113.1:0")

    assert code == 1
    assert errors.startswith("mirrord sandbox: cannot listen on 203.0.113.1:0: ")
    assert errors.count("\n") == 1


def test_a_root_that_cannot_be_used_is_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    code, errors = refused("--origin", "docs=", "--root", str(tmp_path / "file"), "--listen", "127.0.0.1:0")

    assert code == 1
    assert errors.startswith(f"mirrord sandbox: {tmp_path / 'file'} cannot hold objects: ")
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param([], id="no-origin"),
        pytest.param(["--origin", "docs"], id="no-url"),
        pytest.param(["--origin", "docs=ftp://x"], id="no-http"),
        pytest.param(["--origin", "docs=", "--listen", "9471"], id="no-host"),
        pytest.param(["--origin", "docs=", "--listen", "127.0.0.1:99999"], id="no-port"),
        pytest.param(["--origin", "docs=", "--fault", "prefetch:often"], id="no-fault"),
        pytest.param(["--origin", "docs=", "--prefetch-reply", "full"], id="no-reply"),
        pytest.param(["--origin", "docs=", "--throttle", "50:often"], id="no-throttle"),
        pytest.param(["--origin", "docs=", "--io-domain", "io.example.com"], id="no-domain"),
        pytest.param(["--origin", "docs=", "--skew", "nan"], id="no-time"),
    ],
)
def test_wrong_usage_is_exit_2(arguments: list[str]) -> None:
    code, errors = refused(*arguments)

    assert code == 2
    assert "Traceback" not in errors
