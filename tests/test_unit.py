"""The unit file: what it promises, and what systemd's own tools think of it."""

import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).parent.parent / "systemd"
UNIT = SYSTEMD / "mirrord.service"


def settings(path: Path = UNIT) -> dict[str, list[str]]:
    """The unit's assignments; a setting may be given several times."""
    found = defaultdict(list)
    for line in path.read_text().splitlines():
        if line and not line.startswith(("#", "[")):
            name, value = line.split("=", 1)
            found[name].append(value)
    return found


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed here")
    return subprocess.run([program, *arguments], check=False, capture_output=True, text=True, timeout=60)


def test_the_exposure_is_at_most_1_1() -> None:
    report = analyze("security", "--offline=true", "--no-pager", "--threshold=11", str(UNIT))

    if "unrecognized option" in report.stderr:
        pytest.skip("this systemd-analyze cannot judge a file (before 250)")
    assert report.returncode == 0, report.stdout + report.stderr


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "mirrord"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / "mirrord.service"
    copy.write_text(UNIT.read_text().replace("/opt/mirrord/bin/mirrord", str(program)))

    report = analyze("verify", "--man=no", str(copy))

    assert [line for line in report.stderr.splitlines() if "mirrord" in line] == []
    assert report.returncode == 0, report.stderr


def test_the_service_says_itself_when_it_is_ready_and_alive() -> None:
    unit = settings()

    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]
    assert unit["WatchdogSec"] == ["60s"]
    assert unit["ExecStart"] == ["/opt/mirrord/bin/mirrord run"]
    assert "ExecStartPre" not in unit  # one that exits 78 would be tried again and again


def test_wrong_settings_are_not_tried_again() -> None:
    unit = settings()

    assert unit["Restart"] == ["on-failure"]
    assert set(unit["RestartPreventExitStatus"][0].split()) == {"77", "78", "CREDENTIALS"}


def test_the_secret_comes_as_a_credential_and_from_nowhere_else() -> None:
    unit = settings()

    assert unit["LoadCredential"] == ["secret-key:/etc/mirrord/secret-key"]
    assert not {"Environment", "EnvironmentFile", "PassEnvironment", "SetCredential"} & unit.keys()
    assert "secret" not in " ".join(unit["ExecStart"])


def test_the_service_writes_to_its_own_directories_only() -> None:
    unit = settings()

    assert unit["User"] == ["mirrord"]
    assert unit["StateDirectory"] == ["mirrord"]
    assert unit["RuntimeDirectory"] == ["mirrord"]
    assert unit["ProtectSystem"] == ["strict"]
    assert unit["ReadOnlyPaths"] == ["/etc/mirrord"]
    assert "ReadWritePaths" not in unit


def test_the_status_page_is_the_one_listener_allowed() -> None:
    unit = settings()

    assert unit["SocketBindDeny"] == ["any"]
    assert unit["SocketBindAllow"] == ["tcp:9478"]


def test_the_user_of_the_unit_is_the_one_that_sysusers_makes() -> None:
    lines = (SYSTEMD / "sysusers.d" / "mirrord.conf").read_text().splitlines()

    users = [line.split()[1] for line in lines if line.startswith("u ")]

    assert users == settings()["User"]


def test_the_inotify_limits_are_raised_above_the_kernels_own() -> None:
    lines = (SYSTEMD / "sysctl.d" / "60-mirrord-inotify.conf").read_text().splitlines()

    limits = dict(line.split(" = ") for line in lines if not line.startswith("#"))

    assert int(limits["fs.inotify.max_user_watches"]) > 192_536
    assert int(limits["fs.inotify.max_user_instances"]) > 128
    assert int(limits["fs.inotify.max_queued_events"]) > 16_384
