"""The installed unit under a real systemd. Where there can be no lab these are skipped; `pytest -rs` says why."""

import re

import pytest

from tests.systemd.lab import SECRET_KEY, Lab

CHECKS = 28


def drop_in(lab: Lab, name: str, **replaced: str) -> str:
    """The drop-in as it comes with mirrord, what is to be edited in it edited."""
    text = lab.sh(f"/opt/mirrord/bin/mirrord service drop-in {name}")
    for old, new in replaced.items():
        text = text.replace(old, new)
    return text


def refreshed(lab: Lab, key: str, mirror: str = "www") -> str:
    """The lines of the refreshes of a key that succeeded, waited for."""
    return lab.until(f"journalctl -q -o cat MIRROR={mirror} KEY={key} OUTCOME=refreshed", bool)


def test_all_checks_of_the_acceptance_pass(lab: Lab) -> None:
    lab.sh("echo content >/srv/www/a.html")

    said = lab.ask("bash /lab/accept.sh").stdout

    checks = re.findall(r"^(ok|FAIL) +(.*)$", said, re.MULTILINE)
    assert [what for result, what in checks if result != "ok"] == []
    assert len(checks) == CHECKS


def test_a_service_that_has_started_has_all_that_it_needs(lab: Lab) -> None:
    directories = 300
    lab.sh(f"cd /srv/www && mkdir $(seq {directories - 1}) && echo content >7/a.html")
    lab.configure(
        last='[[mirror]]\nname = "hooked"\nbucket = "www"\nkey_prefix = "hooked/"\n'
        '[mirror.source]\nkind = "feed"\nformat = "webhook"\nauth = "none"\n'
    )

    seen = lab.sh(
        """
        set -e
        systemctl start mirrord
        pid=$(systemctl show -P MainPID mirrord)
        echo more >>/srv/www/7/a.html
        echo watches $(cat /proc/$pid/fdinfo/* | grep -c ^inotify)
        echo journal $(readlink /proc/$pid/fd/* | grep -c /var/lib/mirrord/journal.db$)
        echo caught $(sed -n 's/SigCgt://p' /proc/$pid/status)
        echo listens $( (exec 3<>/dev/tcp/127.0.0.1/9478) 2>&1 && echo yes)
        """
    )

    facts = dict(line.split(maxsplit=1) for line in seen.splitlines())
    assert int(facts["watches"]) >= directories
    assert int(facts["journal"]) >= 1
    assert facts["listens"] == "yes"
    caught = {number for number in range(1, 65) if int(facts["caught"], 16) >> (number - 1) & 1}
    assert {1, 2, 15} <= caught, "HUP, INT and TERM have handlers"
    lab.until("grep -rqx more /var/lib/sandbox")
    scans = lab.journal(f"_PID={lab.show('MainPID')} MIRROR=www")
    assert scans.count("scan.finished") == 1, "no scan but the first"


def test_a_stop_waits_for_a_slow_pull_longer_than_systemd_would(lab: Lab) -> None:
    lab.drop_in("[Service]\nTimeoutStopSec=1s\n")
    lab.sh("systemctl start mirrord && touch /run/origin-shut && echo slow >/srv/www/slow.html")
    lab.until("journalctl -q -o cat -u origin", lambda said: "asked /slow.html" in said)

    lab.sh("systemctl stop --no-block mirrord; sleep 2")  # past TimeoutStopSec, which only passing time can show
    waiting = lab.show("ActiveState")
    lab.sh("rm /run/origin-shut")
    lab.until("systemctl show -P ActiveState mirrord", lambda state: state.strip() != "deactivating")

    assert waiting == "deactivating"
    assert (lab.show("ActiveState"), lab.show("Result")) == ("inactive", "success")
    assert refreshed(lab, "slow.html")


def test_a_reload_has_happened_when_it_returns(lab: Lab) -> None:
    lab.sh("systemctl start mirrord")
    pid = lab.show("MainPID")
    lab.sh("sed -i s/50ms/60ms/ /etc/mirrord/config.toml")

    lab.sh("systemctl reload mirrord")
    reloaded = lab.journal("-u mirrord", f"_PID={pid}")

    assert "settings.reloaded" in reloaded
    assert (lab.show("MainPID"), lab.show("ActiveState")) == (pid, "active")


def test_a_reload_of_wrong_settings_is_refused_and_says_why(lab: Lab) -> None:
    lab.sh("systemctl start mirrord")
    pid = lab.show("MainPID")
    lab.sh("sed -i s/bucket/buckit/ /etc/mirrord/config.toml")

    refused = lab.ask("systemctl reload mirrord")

    assert refused.returncode == 1
    assert "buckit" in lab.journal("-u mirrord")
    assert (lab.show("MainPID"), lab.show("ActiveState")) == (pid, "active")


def test_a_signal_with_wrong_settings_changes_nothing(lab: Lab) -> None:
    lab.sh("systemctl start mirrord")
    pid = lab.show("MainPID")
    lab.sh("sed -i s/bucket/bukket/ /etc/mirrord/config.toml")

    lab.sh("systemctl kill --kill-who=main -s HUP mirrord")
    lab.until(f"journalctl -q -o cat _PID={pid}", lambda said: "settings.refused" in said)

    assert (lab.show("MainPID"), lab.show("ActiveState")) == (pid, "active")
    lab.sh("echo content >/srv/www/still-at-work.html")
    assert refreshed(lab, "still-at-work.html")


def test_attempts_are_found_by_request_key_and_mirror(lab: Lab) -> None:
    lab.sh("systemctl start mirrord && mkdir -p /srv/www/a && echo content >/srv/www/a/b.html")
    refreshed(lab, "a/b.html")

    (reqid,) = lab.sh("journalctl -q --output-fields=REQID -o cat KEY=a/b.html OUTCOME=refreshed").split()
    entries = [lab.journal(f"REQID={reqid}"), lab.journal("KEY=a/b.html", "MIRROR=www", "STATUS=200")]

    assert entries[0] == entries[1]
    assert entries[0].count("refresh.attempted") == 1


def test_a_traceback_is_one_entry(lab: Lab) -> None:
    lab.write(
        "/run/broken.py",
        """
import structlog
from mirrord import log
log.configure("auto", "info", ())
try:
    {}["nothing"]
except KeyError:
    structlog.get_logger().exception("lab.failed", key="traced.html")
""",
    )

    lab.sh("systemd-run --quiet --wait -p StandardError=journal /opt/mirrord/bin/python3 /run/broken.py")

    (entry,) = lab.sh("journalctl -q -o json KEY=traced.html").splitlines()
    assert "Traceback (most recent call last)" in entry
    assert "KeyError" in entry


def test_the_command_that_the_installer_names_checks_the_settings(lab: Lab) -> None:
    said = lab.sh("/opt/mirrord/bin/mirrord service install")
    (command,) = [line.strip() for line in said.splitlines() if line.strip().startswith("systemd-run ")]

    checked = lab.sh(command)

    assert "kept, it is yours" in said
    assert "www" in checked
    assert SECRET_KEY not in checked


def test_only_root_installs_and_everybody_may_look(lab: Lab) -> None:
    command = "setpriv --reuid=nobody --clear-groups /opt/mirrord/bin/mirrord service install"

    refused, shown = lab.ask(command), lab.ask(f"{command} --dry-run")

    assert (refused.returncode, refused.stdout) == (77, "")
    assert "--dry-run" in refused.stderr
    assert shown.returncode == 0, shown.stderr
    assert "mirrord.service: unchanged" in shown.stdout


def test_nothing_is_installed_where_systemd_does_not_run(lab: Lab) -> None:
    lab.sh("rm /etc/systemd/system/mirrord@.service")

    refused = lab.ask(
        "unshare --mount sh -c 'mount -t tmpfs tmpfs /run/systemd && /opt/mirrord/bin/mirrord service install'"
    )

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--root DIR" in refused.stderr
    lab.sh("test ! -e /etc/systemd/system/mirrord@.service && /opt/mirrord/bin/mirrord service install")


@pytest.mark.parametrize("where", ["/root/of-mine", "/srv/shut/mirrord"], ids=["hidden", "shut"])
def test_a_program_where_the_service_cannot_go_is_not_installed(lab: Lab, where: str) -> None:
    lab.sh(f"mkdir -p -m 700 $(dirname {where}) && mkdir -p {where} && mount --bind /lab/program {where}")

    ended = lab.ask(f"/opt/mirrord/bin/python3 {where}/bin/mirrord service install")

    assert (ended.returncode, ended.stdout) == (1, "")
    assert where.rsplit("/", 1)[0] in ended.stderr
    assert "ExecStart=/opt/mirrord/bin/mirrord run" in lab.sh("cat /etc/systemd/system/mirrord.service")


def test_a_dynamic_user_keeps_the_state_of_the_lasting_one(lab: Lab) -> None:
    lab.sh("echo content >/srv/www/a.html && systemctl start mirrord")
    refreshed(lab, "a.html")

    lab.drop_in(drop_in(lab, "dynamic-user"))
    lab.sh("systemctl start mirrord && echo more >/srv/www/b.html")

    assert refreshed(lab, "b.html")
    uid = int(lab.sh("stat -c %u /proc/$(systemctl show -P MainPID mirrord)"))
    assert 61184 <= uid <= 65519, "systemd's range for dynamic users"
    assert '"fresh":2' in lab.sh("/opt/mirrord/bin/mirrord status --json").replace(" ", "")
    lab.drop_in()
    lab.sh("systemctl start mirrord && systemctl stop mirrord && test ! -L /var/lib/mirrord")


def test_an_encrypted_key_is_used(lab: Lab) -> None:
    lab.sh(
        "systemd-creds encrypt --name=secret-key /etc/mirrord/secret-key /etc/mirrord/secret-key.encrypted"
        " && rm /etc/mirrord/secret-key"
    )
    lab.drop_in(drop_in(lab, "encrypted-key"))

    lab.sh("systemctl start mirrord && echo content >/srv/www/encrypted.html")

    assert refreshed(lab, "encrypted.html")


def test_an_origin_of_a_group_is_read_with_that_group(lab: Lab) -> None:
    lab.sh("mkdir -p /srv/group && chgrp www-data /srv/group && chmod 2750 /srv/group")
    lab.sh("echo content | tee /srv/group/group.html >/srv/www/group.html")
    lab.configure(path="/srv/group")
    lab.sh("systemctl start mirrord; systemctl stop mirrord")
    without = lab.journal("MIRROR=www", "KEY=group.html")

    lab.drop_in(drop_in(lab, "origin-group"))
    lab.sh("systemctl start mirrord")

    assert without == ""
    assert refreshed(lab, "group.html")


def test_an_origin_below_home_is_all_that_is_seen_of_it(lab: Lab) -> None:
    lab.sh("mkdir -p /home/web/site /home/web/private && chmod 700 /home/web && echo x >/srv/www/home.html")
    lab.configure(path="/home/web/site")
    lab.drop_in(drop_in(lab, "origin-home"))

    lab.sh("systemctl start mirrord && echo content >/home/web/site/home.html")

    assert refreshed(lab, "home.html")
    seen = lab.sh("ls /proc/$(systemctl show -P MainPID mirrord)/root/home/web")
    assert seen.split() == ["site"]


def test_an_origin_that_is_a_mount_is_waited_for(lab: Lab) -> None:
    lab.sh("mkdir -p /srv/mounted && echo x >/srv/www/mounted.html")
    lab.configure(path="/srv/mounted")
    lab.drop_in(drop_in(lab, "origin-mount", **{"/srv/www": "/srv/mounted"}))

    refused = lab.ask("systemctl start mirrord")
    lab.write("/run/systemd/system/srv-mounted.mount", "[Mount]\nWhat=tmpfs\nWhere=/srv/mounted\nType=tmpfs\n")
    lab.sh("systemctl daemon-reload && systemctl start mirrord && echo content >/srv/mounted/mounted.html")

    assert refused.returncode != 0
    assert "ssert" in refused.stderr
    assert refreshed(lab, "mounted.html")
    lab.sh("systemctl stop srv-mounted.mount")
    assert lab.show("ActiveState") == "inactive", "it stopped before the mount went"


def test_the_last_resort_reads_what_is_only_roots(lab: Lab) -> None:
    lab.sh("mkdir -p -m 700 /srv/private && echo content | tee /srv/private/private.html >/srv/www/private.html")
    lab.configure(path="/srv/private")
    lab.drop_in(drop_in(lab, "origin-any"))

    lab.sh("systemctl start mirrord")

    assert refreshed(lab, "private.html")
    exposure = re.search(r"(\d\.\d) \w+ *\S*$", lab.sh("systemd-analyze security --no-pager mirrord").strip())
    assert exposure is not None
    assert float(exposure[1]) <= 1.5


def test_two_instances_run_beside_each_other(lab: Lab) -> None:
    for name, port in (("one", 9478), ("two", 9479)):
        lab.configure(
            name=name,
            key=f"{name}.secret-key",
            first=f'journal.url = "sqlite:////var/lib/mirrord/{name}/journal.db"\nstatus.listen = "127.0.0.1:{port}"',
        )

    lab.sh("systemctl start mirrord@one mirrord@two && echo content >/srv/www/both.html")

    lines = lab.until("journalctl -q -o cat KEY=both.html OUTCOME=refreshed", lambda said: said.count("\n") >= 2)
    assert len(lines.splitlines()) == 2
    assert lab.sh("stat -c %U:%a /var/lib/mirrord/one").strip() == "mirrord:750"
    lab.sh("systemctl stop mirrord@one mirrord@two")


def test_an_instance_without_a_journal_of_its_own_says_what_is_wrong(lab: Lab) -> None:
    lab.configure(name="three", key="three.secret-key")

    failed = lab.ask("systemctl start mirrord@three")
    lab.sh("systemctl stop mirrord@three")

    assert failed.returncode != 0
    assert "/var/lib/mirrord/journal.db" in lab.journal("-u mirrord@three")
