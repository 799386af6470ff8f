"""A host that fails is left alone for a while, its neighbour takes over, and it gets another chance."""

from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from mirrord.kodo.exchange import Base
from mirrord.kodo.freezes import Freezes

A, B, C = (Base("https", f"{name}.example") for name in "abc")


@dataclass
class Bench:
    """Freezes over a clock that a test moves."""

    time: float = 1000.0
    freezes: Freezes = field(init=False)

    def __post_init__(self) -> None:
        self.freezes = Freezes(lambda: self.time)
        self.freezes.in_turn([A, B, C])


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_all_are_asked_in_their_order(bench: Bench) -> None:
    assert bench.freezes.in_turn([A, B, C]) == [A, B, C]


def test_one_that_failed_is_left_alone_until_it_thaws(bench: Bench) -> None:
    bench.freezes.failed(A, "it failed")

    assert bench.freezes.in_turn([A, B, C]) == [B, C]
    bench.time += 9.9
    assert bench.freezes.in_turn([A, B, C]) == [B, C]
    bench.time += 0.1
    assert bench.freezes.in_turn([A, B, C]) == [A, B, C]


def test_it_is_left_alone_for_twice_as_long_each_time_until_it_answers(bench: Bench) -> None:
    with capture_logs() as lines:
        for _ in range(9):
            bench.freezes.failed(A, "it failed")
            bench.time += 600
        bench.freezes.answered(A, 0.1)
        bench.freezes.failed(A, "it failed")

    frozen = [line["for_s"] for line in lines if line["event"] == "host.frozen"]
    assert frozen == [10, 20, 40, 80, 160, 320, 600, 600, 600, 10]


def test_when_all_are_frozen_the_one_that_thaws_first_is_asked(bench: Bench) -> None:
    for base in (B, C, A):
        bench.freezes.failed(base, "it failed")
        bench.time += 1

    assert bench.freezes.in_turn([A, B, C]) == [B]


def test_many_calls_that_fail_together_are_one_freeze_and_one_line(bench: Bench) -> None:
    with capture_logs() as lines:
        for _ in range(64):
            bench.freezes.failed(A, "no connection to a.example: connection refused")

    (line,) = lines
    assert line == {
        "event": "host.frozen",
        "log_level": "warning",
        "host": "https://a.example",
        "for_s": 10.0,
        "error": "no connection to a.example: connection refused",
    }
    bench.time += 10
    assert A in bench.freezes.in_turn([A, B, C])


def test_an_answer_after_a_freeze_is_said_once(bench: Bench) -> None:
    bench.freezes.failed(A, "it failed")
    bench.time += 10

    with capture_logs() as lines:
        for _ in range(3):
            bench.freezes.answered(A, 0.1)

    assert lines == [{"event": "host.thawed", "log_level": "info", "host": "https://a.example"}]


def test_an_answer_to_what_was_asked_before_the_freeze_does_not_end_it(bench: Bench) -> None:
    bench.freezes.failed(A, "it failed")
    bench.time += 5

    bench.freezes.answered(A, 5.1)

    assert bench.freezes.in_turn([A, B]) == [B]


def test_a_host_that_is_all_there_is_is_never_frozen() -> None:
    bench, alone = Bench(), Base("http", "127.0.0.1:9470")

    with capture_logs() as lines:
        bench.freezes.in_turn([alone])
        bench.freezes.failed(alone, "it failed")
        bench.freezes.answered(alone, 0.1)

    assert bench.freezes.in_turn([alone]) == [alone]
    assert lines == []
