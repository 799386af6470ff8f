"""What is said of a feed's beginning, how much it matters, and what a person can do."""

import pytest

from mirrord.decisions.feed_findings import Posted, Told, about_feed
from mirrord.decisions.findings import Level, Sample, Subject, Wanted
from mirrord.model.attempt import Operation

WANTED = Wanted(mirror="docs", bucket="b", operation=Operation.PREFETCH, origin_url=None, verify=True)
KEY = Sample(key="a/b.txt", size_bytes=None, on_disk=False)


@pytest.mark.parametrize(
    ("told", "level", "says"),
    [
        pytest.param(
            Told(entries=1, keys=1, sample=KEY), Level.OK, "answers: 1 entry, the first key is a/b.txt", id="one"
        ),
        pytest.param(
            Told(entries=2000, keys=9, sample=KEY, whole=False),
            Level.OK,
            "answers: 2000 entries to begin with, the first key is a/b.txt",
            id="many",
        ),
        pytest.param(Told(), Level.OK, "answers, and names nothing yet", id="empty"),
        pytest.param(Told(entries=2, keys=1), Level.OK, "answers: 2 entries, all of keys that are gone", id="gone"),
        pytest.param(
            Told(entries=2, flaw="x/: a directory"),
            Level.WARNING,
            "answers: 2 entries, none of which is a key (x/: a directory)",
            id="no-keys",
        ),
        pytest.param(
            Told(entries=2),
            Level.WARNING,
            "answers: 2 entries, none of which is a key (include, exclude or key_from leave all of them out)",
            id="left-out",
        ),
        pytest.param(Told(error="no connection"), Level.ERROR, "no connection", id="unreachable"),
        pytest.param(Told(error="is a page", strange=True), Level.ERROR, "is a page", id="strange"),
        pytest.param(
            Posted(address="127.0.0.1:9478", path="/hooks/docs", shown=("a token", "a signature")),
            Level.OK,
            "is to be posted to http://127.0.0.1:9478/hooks/docs with a token and a signature",
            id="hook",
        ),
        pytest.param(
            Posted(address="[::]:80", path="/hooks/docs", shown=()),
            Level.OK,
            "is to be posted to http://[::]:80/hooks/docs by everybody",
            id="open-hook",
        ),
    ],
)
def test_what_a_feed_said_is_one_finding(told: Told | Posted, level: Level, says: str) -> None:
    found = about_feed(WANTED, Subject.FEED, told)

    assert (found.level, found.says, found.subject) == (level, says, Subject.FEED)
    assert bool(found.advice) == (level is not Level.OK)


def test_who_speaks_another_language_is_advised_otherwise_than_who_is_not_there() -> None:
    away = about_feed(WANTED, Subject.SNAPSHOT, Told(error="x"))
    strange = about_feed(WANTED, Subject.SNAPSHOT, Told(error="x", strange=True))

    assert "token" in away.advice
    assert "`format`" in strange.advice
