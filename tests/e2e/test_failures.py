"""Kodo, the origin and the network fail in every way they have: what is logged, what is tried again, what is parked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.place import Ended, Place, place_at

MOST = 2
"""Attempts until a key is parked."""


@dataclass(frozen=True)
class Case:
    """How the sandbox treats one key, and the lines that must come of it."""

    fault: Mapping[str, Any]
    status: int | None
    outcome: str
    attempts: int
    """That end like this; a key that is not parked then gets through."""
    parked: bool
    headers: bool = False
    seen: bool = False
    """Whether a look at the bucket shows that it was done nevertheless."""


CASES = {
    "400": Case({"status": 400}, 400, "refused", 1, parked=True),
    "404": Case({"status": 404}, 404, "origin-missing", 1, parked=True),
    "478": Case({"status": 478}, 478, "origin-failing", MOST, parked=True),
    "503": Case({"status": 503}, 503, "unavailable", MOST, parked=True, headers=True),
    "504": Case({"status": 504}, 504, "timed-out", MOST, parked=True, headers=True),
    "573": Case({"status": 573, "times": 4}, 573, "throttled", 4, parked=False, headers=True),
    "599": Case({"status": 599}, 599, "unavailable", MOST, parked=True, headers=True),
    "gone": Case({"drop": True, "times": 4}, None, "unavailable", 4, parked=False),
    "gone-late": Case({"drop": True, "after": True, "times": 1}, None, "unavailable", 1, parked=False, seen=True),
}
PARKED = {key for key, case in CASES.items() if case.parked}


@dataclass(frozen=True)
class Storm:
    """What was left of a `once` during which every key but one had its own trouble."""

    place: Place
    calls: list[dict[str, Any]]
    ended: Ended

    def lines(self, key: str) -> list[dict[str, Any]]:
        return self.ended.said("refresh.attempted", key=key)


@pytest.fixture(scope="module")
def storm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storm]:
    with place_at(tmp_path_factory.mktemp("failures")) as place:
        place.write("unhurt", "hello")
        for key, case in CASES.items():
            place.write(key, key)
            place.kodo.fail(operation="prefetch", key=key, **case.fault)
        place.configure({"retry": {"first_delay": "10ms", "max_attempts": MOST}})
        ended = place.start("once", anew=True).wait()
        yield Storm(place, place.kodo.calls("prefetch"), ended)


@pytest.mark.parametrize("key", CASES)
def test_each_failure_is_told_for_what_it_is(storm: Storm, key: str) -> None:
    case = CASES[key]
    failed = storm.lines(key)[: case.attempts]

    nexts = ["retry"] * case.attempts
    if case.parked:
        nexts[-1] = "park"
    assert [line["attempt"] for line in failed] == list(range(1, case.attempts + 1))
    assert [line["next"] for line in failed] == nexts
    assert [line["level"] for line in failed] == ["warning" if each == "park" else "info" for each in nexts]
    for line in failed:
        assert (line["status"], line["outcome"]) == (case.status, case.outcome)
        assert (line["reqid"] is None) == (case.status is None)
        assert (line["retry_in_s"] is None) == (line["next"] == "park")
        assert line["error"]
        assert ("headers" in line) == case.headers
        if case.headers:
            assert {name.lower() for name in line["headers"]} >= {"x-reqid", "x-log", "content-type", "date", "server"}


@pytest.mark.parametrize("key", [key for key, case in CASES.items() if not (case.parked or case.seen)])
def test_what_passes_is_tried_until_it_has_passed(storm: Storm, key: str) -> None:
    last = storm.lines(key)[-1]

    assert (last["attempt"], last["outcome"], last["next"]) == (CASES[key].attempts + 1, "refreshed", "done")
    assert storm.place.kodo.read("docs", key) == key.encode()


@pytest.mark.parametrize("key", [key for key, case in CASES.items() if case.seen])
def test_what_was_done_unseen_is_found_and_not_done_again(storm: Storm, key: str) -> None:
    (found,) = storm.ended.said("pull.confirmed", key=key)

    assert found["level"] == "info"
    assert len(storm.lines(key)) == CASES[key].attempts
    assert storm.place.kodo.read("docs", key) == key.encode()


def test_every_attempt_has_one_line_also_those_without_an_answer(storm: Storm) -> None:
    for key in [*CASES, "unhurt"]:
        statuses = [call["status"] for call in storm.calls if call["key"] == key]
        assert [line["status"] for line in storm.lines(key)] == statuses
    answered = {call["reqid"] for call in storm.calls if call["status"] is not None}
    assert {line["reqid"] for line in storm.ended.said("refresh.attempted")} - {None} == answered


def test_one_keys_trouble_is_not_anothers(storm: Storm) -> None:
    (line,) = storm.lines("unhurt")

    assert (line["attempt"], line["next"]) == (1, "done")


def test_parked_keys_are_listed_and_end_once_with_1(storm: Storm) -> None:
    listed = {line.split("'")[1] for line in storm.ended.out.splitlines() if "parked" in line and "'" in line}

    assert storm.ended.code == 1
    assert listed == PARKED
    assert "reqid" in storm.ended.out


def test_parked_keys_are_in_the_status_of_people_and_programs(storm: Storm) -> None:
    shown = storm.place.start("status", anew=True).wait()
    told = storm.place.start("status", "--json").wait()

    (mirror,) = told.json["mirrors"]
    assert (shown.code, told.code) == (1, 1)
    assert "docs" in shown.out
    assert mirror["keys"]["parked"] == len(PARKED)
    assert mirror["keys"]["fresh"] == len(CASES) + 1 - len(PARKED)
    assert mirror["oldest_stale_key"] in PARKED


def test_parked_keys_are_left_alone_until_their_file_changes(place: Place) -> None:
    place.write("a", "old")
    place.write("b")
    place.kodo.fail(operation="prefetch", status=404)
    place.once()
    place.kodo.heal()
    place.kodo.forget_calls()
    place.write("a", "new")

    ended = place.once("--json")

    (mirror,) = ended.json["mirrors"]
    assert ended.code == 1
    assert [call["key"] for call in place.kodo.calls("prefetch")] == ["a"]
    assert [(left["key"], left["state"], left["status"], left["outcome"]) for left in mirror["unfinished"]] == [
        ("b", "parked", 404, "origin-missing")
    ]


def test_a_wrong_secret_key_is_asked_about_once_and_holds_the_mirror(place: Place) -> None:
    for n in range(20):
        place.write(f"{n}.txt")
    place.configure(kodo={"secret_key": "not-the-right-one"})

    ended = place.once()

    (line,) = ended.said("refresh.attempted")
    told = {name: line[name] for name in ("level", "status", "outcome", "next", "attempt", "error")}
    assert ended.code == 1
    assert [call["status"] for call in place.kodo.calls()] == [401]
    assert told == {
        "level": "error",
        "status": 401,
        "outcome": "refused",
        "next": "hold",
        "attempt": 1,
        "error": "bad token",
    }
    assert line["retry_in_s"] > 1
    assert "secret key" in line["action"]
    assert "20 stale" in ended.out


def test_a_held_service_goes_on_watching_and_ends_when_asked(place: Place) -> None:
    place.write("a.txt")
    place.kodo.fail(operation="prefetch", status=631)
    service = place.run()
    service.until_said("refresh.attempted", next="hold")

    for n in range(20):
        place.write(f"{n}.txt")
    ended = service.stop()

    assert ended.code == 0
    assert len(place.kodo.calls("prefetch")) == 1


def test_a_kodo_that_cannot_be_reached_is_asked_again_and_nothing_is_parked(place: Place) -> None:
    place.write("a.txt")
    hosts = {"io": "http://127.0.0.1:9"}
    place.configure({"retry": {"first_delay": "10ms", "max_attempts": 1}}, kodo={"hosts": hosts})
    service = place.run()

    lines = service.until_said("refresh.attempted", 3)
    ended = service.stop()

    assert ended.code == 0
    for line in lines:
        told = {name: line[name] for name in ("level", "status", "reqid", "xlog", "outcome", "next")}
        assert told == {
            "level": "info",
            "status": None,
            "reqid": None,
            "xlog": None,
            "outcome": "unavailable",
            "next": "retry",
        }
        assert "127.0.0.1" in line["error"]
