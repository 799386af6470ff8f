"""A feed that cannot be read: the pauses in between, and what is said."""

from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from mirrord.sources.feed.trouble import HICCUP, Trouble

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def trouble(chance: float = 1.0) -> Trouble:
    return Trouble("a feed", lambda: ["docs"], first=SECOND, longest=timedelta(minutes=1), chance=lambda: chance)


def test_pauses_double_up_to_the_longest() -> None:
    subject = trouble()

    with capture_logs():
        pauses = [subject.note("down", NOON).total_seconds() for _ in range(9)]

    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@pytest.mark.parametrize(("chance", "pause_s"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_chance_shortens_a_pause_by_half_at_most(chance: float, pause_s: float) -> None:
    with capture_logs():
        assert trouble(chance).note("down", NOON) == timedelta(seconds=pause_s)


def test_a_server_that_asks_for_more_gets_it() -> None:
    with capture_logs():
        assert trouble().note("busy", NOON, timedelta(minutes=5)) == timedelta(minutes=5)


def test_each_reason_is_said_once_and_its_end_too() -> None:
    subject = trouble()

    with capture_logs() as said:
        for reason in ("down", "down", "refused", "refused"):
            subject.note(reason, NOON)
        subject.over()
        subject.over()

    assert [(line["event"], line["reason"]) for line in said] == [
        ("feed.failed", "down"),
        ("feed.failed", "refused"),
        ("feed.recovered", "refused"),
    ]
    assert said[-1]["failing_since"] == NOON
    assert {line["log_level"] for line in said[:2]} == {"warning"}


def test_what_a_person_must_do_is_an_error() -> None:
    with capture_logs() as said:
        trouble().note("refused", NOON, action="mend it")

    assert (said[0]["log_level"], said[0]["action"]) == ("error", "mend it")


def test_what_another_line_has_said_is_not_said_again_but_its_end_is() -> None:
    subject = trouble()

    with capture_logs() as said:
        subject.note("stuck", NOON, said=True)
        subject.note("stuck", NOON, said=True)
        subject.over()

    assert [line["event"] for line in said] == ["feed.recovered"]


def test_it_lasts_once_it_is_more_than_a_hiccup_and_begins_anew_after_its_end() -> None:
    subject = trouble()

    with capture_logs():
        subject.note("down", NOON)
        assert not subject.lasts(NOON + HICCUP - SECOND)
        assert subject.lasts(NOON + HICCUP)
        subject.over()
        assert not subject.lasts(NOON + HICCUP)
        assert subject.note("down", NOON) == SECOND
