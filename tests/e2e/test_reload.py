"""SIGHUP: other settings are taken by a service that goes on, or refused; what did not change notices nothing."""

import os
import signal
import threading
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from mirrord.model.row import State
from tests.e2e.place import CREDENTIALS, Ended, GatedOrigin, Line, Place, Program

PAGES: dict[str, Any] = {"name": "pages", "bucket": "pages"}


def reload(place: Place) -> Ended:
    return place.start("reload").wait()


def second_tree(place: Place) -> dict[str, Any]:
    """The settings of a mirror of another tree, which is there."""
    tree = place.root / "pages"
    tree.mkdir(exist_ok=True)
    return PAGES | {"source": {"kind": "directory", "path": str(tree), "settle": "50ms"}}


def test_a_mirror_is_added_and_the_other_one_keeps_its_watch(place: Place) -> None:
    place.write("a.txt")
    service = place.run()
    place.until_equal(service, {"a.txt"})
    pages = second_tree(place)
    place.configure({}, pages | {"operation": "fetch", "origin_url": place.origin})

    answer = reload(place)
    place.write("b.txt")
    place.until_equal(service, {"b.txt"})
    (place.root / "pages" / "index.html").write_text("hello")
    (attempted,) = service.until_said("refresh.attempted", mirror="pages")

    assert (answer.code, answer.out) == (0, "taken\n")
    (line,) = service.said("settings.reloaded")
    assert (line["started"], line["stopped"], line["replaced"], line["needs_restart"]) == (["pages"], [], [], [])
    assert len(service.said("scan.finished", mirror="docs")) == 1
    assert attempted["key"] == "index.html"


def test_systemd_is_told_of_the_beginning_and_of_the_end(place: Place) -> None:
    service = place.run()
    service.until_notified("READY=1")

    service.send(signal.SIGHUP)

    service.until_notified("RELOADING=1")
    service.until_notified("READY=1")


def test_a_bad_file_is_refused_and_nothing_changes(place: Place) -> None:
    service = place.run()
    good = place.settings.read_text()
    place.settings.write_text(good + "\nunheard_of = 1\n")

    by_command = reload(place)
    service.send(signal.SIGHUP)
    (refused,) = service.until_said("settings.refused")
    place.settings.write_text(good)
    again = reload(place)
    place.write("a.txt")
    place.until_equal(service, {"a.txt"})

    assert by_command.code == 78  # it looks at the file itself, and asks nobody to take it
    assert "unheard_of" in "".join(by_command.noise)
    assert refused["level"] == "error"
    assert any("unheard_of" in problem for problem in refused["problems"])
    assert refused["action"]
    assert again.code == 0


def test_what_only_the_service_can_see_is_refused_by_it(place: Place) -> None:
    secret = place.root / "secret"
    secret.write_text(CREDENTIALS.secret_key)
    secret.chmod(0o600)
    place.configure(kodo={"secret_key_file": str(secret)})
    without = place.settings.read_text().replace(f'secret_key = "{CREDENTIALS.secret_key}", ', "")
    place.settings.write_text(without)
    service = place.run()
    secret.unlink()

    answer = reload(place)

    assert answer.code == 78
    assert "kodo.secret_key_file" in "".join(answer.noise)
    assert "stay in force" in "".join(answer.noise)
    assert service.said("settings.refused")


def test_without_a_service_there_is_nobody_to_ask(place: Place) -> None:
    answer = reload(place)

    assert answer.code == 69
    assert "no service runs" in "".join(answer.noise)


def test_the_answer_of_a_service_that_was_killed_is_not_believed(place: Place) -> None:
    service = place.run()
    service.send(signal.SIGKILL)
    service.wait()

    answer = reload(place)

    assert (place.root / "journal.db-answer.json").exists()
    assert answer.code == 69


def test_a_service_that_ends_before_it_answers_is_said_to_have(place: Place) -> None:
    service = place.run()
    service.send(signal.SIGSTOP)
    asking = place.start("reload")
    asking.until(lambda: is_pending(answered(place)["pid"], signal.SIGHUP), "it was asked")

    service.send(signal.SIGKILL)
    ended = asking.wait()

    assert ended.code == 69
    assert "has ended meanwhile" in "".join(ended.noise)


def is_pending(pid: int, number: signal.Signals) -> bool:
    """Whether the signal waits for a process that is stopped."""
    status = Path(f"/proc/{pid}/status").read_text()
    pending = next(line.split()[1] for line in status.splitlines() if line.startswith("ShdPnd"))
    return bool(int(pending, 16) >> (number - 1) & 1)


def test_calls_in_flight_go_on_and_more_may_join_them(gated: Place, gate: GatedOrigin) -> None:
    gated.configure({"pace": {"concurrency": 1}})
    service = gated.run()
    gated.write("first.txt")
    gated.until_equal(service, {"first.txt"})
    gate.shut()
    for n in range(6):
        gated.write(f"{n}.txt")
    gate.until_asked(2)
    gated.configure({"pace": {"concurrency": 6}, "retry": {"max_attempts": 3}})

    answer = reload(gated)
    gate.open()
    gated.until_equal(service, {f"{n}.txt" for n in range(6)})

    assert answer.code == 0
    assert service.said("settings.reloaded")[0]["adjusted"] == ["docs"]
    assert len(service.said("scan.finished")) == 1
    assert Counter(gate.asked) == Counter(["first.txt", *(f"{n}.txt" for n in range(6))])


def test_fewer_callers_are_fewer(gated: Place, gate: GatedOrigin) -> None:
    gated.configure({"pace": {"concurrency": 8}})
    service = gated.run()
    for n in range(9):
        gated.write(f"warm-{n}.txt")
    gated.until_equal(service, {f"warm-{n}.txt" for n in range(9)})
    gated.configure({"pace": {"concurrency": 2}})

    reload(gated)
    gate.shut()
    asked = len(gate.asked)
    for n in range(8):
        gated.write(f"{n}.txt")
    gate.until_asked(asked + 2)
    waiting = (State.STALE, State.CLAIMED)
    service.until(lambda: sum(gated.report().keys[state] for state in waiting) == 8, "all are recorded")
    flying = len(gate.asked) - asked
    gate.open()
    gated.until_equal(service, {f"{n}.txt" for n in range(8)})

    assert flying == 2


def test_a_mirror_that_is_gone_from_the_settings_lets_its_call_end(gated: Place, gate: GatedOrigin) -> None:
    pages = second_tree(gated)
    gated.configure({}, pages)
    service = gated.run()
    gate.shut()
    gated.write("a.txt")
    gate.until_asked()
    gated.configure(pages)

    answer = reload(gated)
    gated.write("b.txt")
    gate.open()
    (stopped,) = service.until_said("mirror.stopped")

    assert answer.code == 0
    assert stopped["mirror"] == "docs"
    (line,) = service.said("refresh.attempted", key="a.txt")
    assert line["next"] == "done"
    assert gate.asked == ["a.txt"]
    assert service.stop().code == 0


def test_a_changed_mirror_begins_again_where_it_was(gated: Place, gate: GatedOrigin) -> None:
    service = gated.run()
    gated.write("kept.txt")
    gated.until_equal(service, {"kept.txt"})
    gate.shut()
    gated.write("a.txt")
    gate.until_asked(2)
    gated.write("b.tmp.txt")
    gated.configure({"exclude": ["*.tmp.txt"]})

    answer = reload_in_the_background(gated)
    service.until_said("settings.reloaded")
    gate.open()
    service.until_said("mirror.stopped")
    service.until_said("scan.finished", 2)
    gated.write("c.txt")
    gated.until_equal(service, {"a.txt", "c.txt"})

    assert answer.wait().code == 0
    assert service.said("settings.reloaded")[0]["replaced"] == ["docs"]
    assert Counter(gate.asked)["kept.txt"] == 1
    assert Counter(gate.asked)["a.txt"] == 1  # neither cut nor asked for again


def reload_in_the_background(place: Place) -> Program:
    return place.start("reload")


def test_what_needs_a_restart_is_said_and_stays(place: Place) -> None:
    service = place.run()
    place.configure(
        kodo={"timeouts": {"read": "7s"}, "secret_key": "another-secret-that-nobody-may-read"},
        journal={"url": f"sqlite:///{place.root}/other.db"},
        log={"format": "json", "level": "warning"},
    )

    service.send(signal.SIGHUP)
    (line,) = service.until_said("settings.reloaded")
    place.write("a.txt")
    place.until_equal(service, {"a.txt"})

    assert line["level"] == "warning"
    assert sorted(line["needs_restart"]) == ["journal.url", "kodo.secret_key", "kodo.timeouts.read"]
    assert not service.said("refresh.attempted")  # the log's level needs no restart
    assert "another-secret" not in "".join(map(str, service.lines))


def test_a_held_mirror_stays_held_when_another_is_added(place: Place) -> None:
    place.kodo.fail(operation="prefetch", status=401)
    service = place.run()
    place.write("a.txt")
    service.until_said("refresh.attempted", next="hold")
    place.configure({}, second_tree(place))

    reload(place)
    place.write("b.txt")
    service.until_said("scan.finished", mirror="pages")
    status = place.start("status", "--json").wait().json

    docs = next(each for each in status["mirrors"] if each["mirror"] == "docs")
    assert [each["name"] for each in docs["conditions"]] == ["held"]
    assert len(place.kodo.calls("prefetch")) == 1


@pytest.mark.parametrize("times", [6])
def test_reloads_under_load_repeat_no_call_and_lose_no_change(place: Place, times: int) -> None:
    pages = second_tree(place)
    keys = [f"{n % 40}/{n}.txt" for n in range(600)]
    for key in keys:
        (place.www / key).parent.mkdir(exist_ok=True)  # a scan may see a file before its bytes, the watch does not
    service = place.run()
    service.until_said("scan.finished")
    writing = threading.Thread(target=lambda: [place.write(key, key) for key in keys])

    writing.start()
    for n in range(times):
        place.configure({"pace": {"concurrency": 8 + n}}, *([pages] if n % 2 else []))
        assert reload(place).code == 0
    writing.join()
    place.until_equal(service, keys)
    place.until_equal(service, keys)

    asked = Counter(line["key"] for line in service.said("refresh.attempted", mirror="docs"))
    assert set(asked) == set(keys)
    assert {key: count for key, count in asked.items() if count > 1} == {}
    assert len(service.said("scan.finished", mirror="docs")) == 1
    assert len(service.said("settings.reloaded")) == times


def test_descriptors_do_not_grow_with_reloads(place: Place) -> None:
    pages = second_tree(place)
    service = place.run()
    pid = answered(place)["pid"]

    counts = []
    for n in range(8):
        place.configure({}, *([] if n % 2 else [pages]))
        reload(place)
        if n % 2:
            service.until_said("mirror.stopped", (n + 1) // 2)
            counts.append(len(os.listdir(f"/proc/{pid}/fd")))

    assert max(counts) <= counts[0] + 1


def answered(place: Place) -> Line:
    import json

    answer: Line = json.loads(Path(f"{place.root}/journal.db-answer.json").read_text())
    return answer


def test_held_removals_go_when_the_limit_is_raised(place: Place) -> None:
    deleting: dict[str, Any] = {"on_removed": "delete"}
    place.configure(deleting | {"removal_limit": {"count": 1, "fraction": 1.0}})
    keys = [f"{n}.txt" for n in range(5)]
    for key in keys:
        place.write(key)
    service = place.run()
    place.until_equal(service, keys)
    for key in keys[:4]:
        (place.www / key).unlink()
    service.until_said("removals.held")
    place.configure(deleting | {"removal_limit": {"count": 100, "fraction": 1.0}})

    reload(place)
    service.until_said("refresh.attempted", 4, outcome="removed")

    assert service.said("settings.reloaded")[0]["adjusted"] == ["docs"]
    assert len(place.kodo.calls("delete")) == 4


def test_a_pace_per_second_takes_effect(place: Place) -> None:
    service = place.run()
    place.write("first.txt")
    place.until_equal(service, {"first.txt"})
    place.configure({"pace": {"per_second": 5}})

    reload(place)
    keys = [f"{n}.txt" for n in range(15)]
    for key in keys:
        place.write(key)
    place.until_equal(service, keys)

    ended = [datetime.fromisoformat(line["timestamp"]) for line in service.said("refresh.attempted")][1:]
    assert (max(ended) - min(ended)).total_seconds() > 1.0  # five at once, then five a second
