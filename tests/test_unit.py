"""The unit files and drop-ins: what they promise, and what systemd's own tools think of them."""

import re
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest

from mirrord.settings import Status

SYSTEMD = Path(__file__).parent.parent / "systemd"
UNIT = SYSTEMD / "mirrord.service"
TEMPLATE = SYSTEMD / "mirrord@.service"
PROGRAM = "/opt/mirrord/bin/mirrord"
DROP_INS = sorted((SYSTEMD / "drop-ins").glob("*.conf"))
DEFAULT_PORT = int(Status().listen.rpartition(":")[2])
TOO_NEW = {"restart-backoff": 254, "notify-reload": 253}
"""From which systemd on a drop-in is understood; its text says so, too."""
EXPOSURE = {"origin-any": 1.5}
"""What a drop-in opens; others open nothing."""


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


def exposure(unit: Path) -> float:
    report = analyze("security", "--offline=true", "--no-pager", "--threshold=100", str(unit))

    if "unrecognized option" in report.stderr:
        pytest.skip("this systemd-analyze cannot judge a file (before 250)")
    found = re.search(r"exposure level for \S+: (\d+\.\d)", report.stdout)
    assert found is not None, report.stdout + report.stderr
    return float(found[1])


def installed(unit: Path, folder: Path, *drop_ins: Path) -> Path:
    """A copy of the unit whose program is there, with these drop-ins."""
    program = folder / "mirrord"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = folder / unit.name.replace("@", "@www")
    copy.write_text(unit.read_text().replace(PROGRAM, str(program)))
    for path in drop_ins:
        (folder / f"{copy.name}.d").mkdir(exist_ok=True)
        shutil.copy(path, folder / f"{copy.name}.d")
    return copy


def version() -> int:
    return int(analyze("--version").stdout.split()[1])


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.stem)
def test_the_exposure_is_at_most_1_1(unit: Path) -> None:
    assert exposure(unit) <= 1.1


@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong_with_the_unit(unit: Path, tmp_path: Path) -> None:
    report = analyze("verify", "--man=no", str(installed(unit, tmp_path)))

    assert [line for line in report.stderr.splitlines() if "mirrord" in line] == []
    assert report.returncode == 0, report.stderr


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
@pytest.mark.parametrize("unit", [UNIT, TEMPLATE], ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong_with_a_drop_in(unit: Path, drop_in: Path, tmp_path: Path) -> None:
    if version() < TOO_NEW.get(drop_in.stem, 0):
        pytest.skip(f"{drop_in.stem} is for systemd {TOO_NEW[drop_in.stem]} and newer")

    report = analyze("verify", "--man=no", str(installed(unit, tmp_path, drop_in)))

    assert [line for line in report.stderr.splitlines() if "mirrord" in line] == []


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_a_drop_in_opens_no_more_than_it_says(drop_in: Path, tmp_path: Path) -> None:
    assert exposure(installed(UNIT, tmp_path, drop_in)) <= EXPOSURE.get(drop_in.stem, 1.1)


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_a_drop_in_has_its_reason_and_how_to_install_it(drop_in: Path) -> None:
    text = drop_in.read_text()

    assert text.startswith("# ")
    assert f"mirrord service drop-in {drop_in.stem} >/etc/systemd/system/mirrord.service.d/{drop_in.name}\n" in text
    assert "systemctl daemon-reload" in text


def test_the_template_is_the_unit_but_for_what_instances_cannot_share() -> None:
    ours, theirs = settings(), settings(TEMPLATE)

    different = {name for name in ours | theirs if ours.get(name) != theirs.get(name)}

    assert different == {
        "Description", "ExecStart", "ExecReload", "LoadCredential", "StateDirectory", "RuntimeDirectory",
        "NoExecPaths", "SocketBindAllow",
    }  # fmt: skip
    for name in ("ExecStart", "ExecReload", "LoadCredential"):
        assert "/etc/mirrord/%i." in theirs[name][0]
    assert theirs["StateDirectory"] == ["mirrord/%i"]
    # /run/mirrord goes with mirrord.service when that stops, whatever another unit has in it.
    assert "RuntimeDirectory" not in theirs


def test_an_instance_has_ports_to_choose_from() -> None:
    (allowed,) = settings(TEMPLATE)["SocketBindAllow"]

    first, last = map(int, allowed.removeprefix("tcp:").split("-"))

    assert first == DEFAULT_PORT
    assert last - first >= 10
    assert f"from {first} to {last}" in TEMPLATE.read_text()


def test_a_reload_waits_for_the_answer_and_may_be_refused() -> None:
    assert settings()["ExecReload"] == [f"{PROGRAM} reload"]
    assert settings(TEMPLATE)["ExecReload"] == [f"{PROGRAM} reload --config /etc/mirrord/%i.toml"]


def test_the_service_says_itself_when_it_is_ready_and_alive() -> None:
    unit = settings()

    assert unit["Type"] == ["notify"]
    assert unit["NotifyAccess"] == ["main"]
    assert unit["WatchdogSec"] == ["60s"]
    assert unit["ExecStart"] == [f"{PROGRAM} run"]
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
    assert unit["SocketBindAllow"] == [f"tcp:{DEFAULT_PORT}"]


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
