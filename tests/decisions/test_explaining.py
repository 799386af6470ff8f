"""The story of a key: what every state says, what comes next, and that no name can play with a terminal."""

import re
import shutil
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirrord.decisions.explaining import (
    Attempt,
    answer,
    came,
    command,
    condition_in_words,
    explained,
    last_in_words,
    moment,
    plain,
    span,
    way_out,
)
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.fingerprint import of_file, of_token
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State, Why

NOW = datetime(2026, 11, 20, 12, 2, 30, tzinfo=UTC)
WHOLE = Coverage(complete_as_of=NOW)
VERSION = of_file(1258291, 1_700_000_000_000_000_000, 1, 2)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


STALE = ObjectRow(
    mirror="docs",
    key="a/b c.txt",
    wanted=VERSION,
    wanted_at=ago(90),
    why=Why.CHANGED,
    state=State.STALE,
    stale_since=ago(90),
    due_at=ago(-40),
    attempts=3,
    strikes=2,
    tries=9,
    last_at=ago(10),
    last_status=478,
    last_outcome=Outcome.ORIGIN_FAILING,
    last_error="fetch failed",
)
TRIED = Attempt(
    at=ago(10),
    operation=Operation.PREFETCH,
    status=478,
    outcome=Outcome.ORIGIN_FAILING,
    reqid="its-reqid",
    asked_at=ago(11),
    error="fetch failed",
    duration=timedelta(seconds=1.25),
)
HELD = Condition(
    name="held",
    since=ago(147),
    until=ago(-150),
    reason="Kodo refuses the account or the bucket: no such bucket",
    status=631,
    reqid="its-reqid",
)


def story(
    row: ObjectRow,
    *attempts: Attempt,
    held: Condition | None = None,
    coverage: Coverage = WHOLE,
    served: bool | None = None,
) -> str:
    passages = explained(row, attempts, [held] if held else [], coverage, NOW, served=served)
    return "\n".join(line for each in passages for line in (f"# {each.heading}", *each.lines))


def passage(heading: str, text: str) -> str:
    """What stands under a heading."""
    return text.split(f"# {heading}\n")[1].partition("\n#")[0]


# -- passages ----------------------------------------------------------------------------------------


def test_it_says_which_version_is_wanted_since_when_and_why() -> None:
    assert passage("What the origin has", story(STALE)).splitlines() == [
        "1258291 bytes, modified 2023-11-14 22:13:20Z.",
        "This version was first seen 12:01:00Z, 90 s ago.",
        "Why it counts: the origin got another version.",
    ]


@pytest.mark.parametrize("why", list(Why), ids=str)
def test_every_reason_has_its_words(why: Why) -> None:
    words = [passage("What the origin has", story(replace(STALE, why=each))) for each in Why if each is not why]

    assert passage("What the origin has", story(replace(STALE, why=why))) not in words


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (replace(STALE, wanted=of_token("rev\x1b-7")), r"Version 'rev\x1b-7'."),
        (
            replace(STALE, wanted=of_token("7", size_bytes=1, etag="ab", modified=ago(0))),
            "Version '7', 1 byte, modified 2026-11-20 12:02:30Z, ETag ab.",
        ),
        (
            replace(STALE, wanted=of_file(1, -(10**22), 1, 2)),
            "1 byte, modified -10000000000000000000000 ns after 1970.",
        ),
        (replace(STALE, wanted=None, removed_at=ago(7)), "Nothing: found gone 12:02:23Z, 7 s ago."),
        (replace(STALE, wanted=None), "Nothing."),
    ],
    ids=["a token", "a token with facts", "a time that there is not", "gone", "gone, nobody knows when"],
)
def test_the_origins_version_in_words(row: ObjectRow, says: str) -> None:
    assert passage("What the origin has", story(row)).startswith(says)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (STALE, "Not known."),
        (replace(STALE, bucket_hash="Fh"), "Not known for sure. It held an object, hash Fh."),
        (replace(STALE, confirmed=VERSION, bucket_hash="Fh"), "That version, hash Fh."),
        (replace(STALE, confirmed=of_token("1")), "Another one: Version '1'."),
        (replace(STALE, wanted=None, confirmed=of_token("1")), "The copy it had: Version '1'."),
        (replace(STALE, wanted=None, state=State.FRESH), "The copy it had: kept."),
        (
            replace(STALE, wanted=None, state=State.FRESH, last_outcome=Outcome.REMOVED),
            "Nothing: it was deleted.",
        ),
    ],
    ids=["nothing known", "a hash", "confirmed", "another", "to be deleted", "kept", "deleted"],
)
def test_what_the_bucket_holds_in_words(row: ObjectRow, says: str) -> None:
    assert passage("What the bucket holds", story(row)) == says


def test_every_attempt_is_told_with_its_status_reqid_and_error() -> None:
    silent = replace(TRIED, at=ago(60), status=None, outcome=Outcome.TIMED_OUT, reqid=None, error=None)

    text = passage("What was tried", story(STALE, silent, TRIED))

    assert text.splitlines() == [
        "The last 2 attempts of 9:",
        "12:01:30Z, 60 s ago: prefetch, no answer (timed-out); it took 1.25 s.",
        "12:02:20Z, 10 s ago: prefetch, 478, the origin answered neither 200 nor 404 (origin-failing); it took 1.25 s.",
        "  fetch failed",
        "  X-Reqid its-reqid, asked 12:02:19Z by Kodo's clock",
    ]


def test_what_was_found_wrong_without_an_attempt_is_told() -> None:
    row = replace(STALE, last_error="drifted", tries=1)

    assert passage("What was tried", story(row, TRIED)).splitlines()[-1] == "Found wrong last: drifted."


def test_what_a_comparison_found_is_no_attempt() -> None:
    text = story(replace(STALE, attempts=0, tries=0, last_at=None, last_status=None, last_error="missing in bucket"))

    assert passage("What was tried", text) == "Nothing yet."
    assert passage("What the bucket holds", text) == "Not known. When it was compared: missing in bucket."


@pytest.mark.parametrize(
    ("status", "outcome", "error", "says"),
    [
        (200, Outcome.UNAVAILABLE, "the answer did not come from Kodo", "200, the answer did not come from Kodo"),
        (200, Outcome.TIMED_OUT, "not fetched\x1b in time", r"200, not fetched\x1b in time"),
        (200, Outcome.TIMED_OUT, None, "200"),
        (403, Outcome.ORIGIN_FAILING, "the origin refuses it to Kodo", "403, the origin refuses it to Kodo"),
        (200, Outcome.REFRESHED, None, "200, Kodo has done it"),
        (612, Outcome.REMOVED, None, "612, the bucket does not hold it any more"),
        (200, Outcome.REMOVED, None, "200, the bucket does not hold it any more"),
        (478, Outcome.ORIGIN_FAILING, "E403", "478, the origin answered neither 200 nor 404"),
        (None, Outcome.TIMED_OUT, "no answer within 5 s", "no answer"),
    ],
)
def test_an_error_goes_before_what_the_status_alone_would_mean(
    status: int | None, outcome: Outcome, error: str | None, says: str
) -> None:
    tried = replace(TRIED, status=status, outcome=outcome, error=error)

    line, *others = passage("What was tried", story(replace(STALE, tries=1, last_error=error), tried)).splitlines()

    assert answer(status, outcome, error) == says
    assert line == f"12:02:20Z, 10 s ago: prefetch, {says} ({outcome.value}); it took 1.25 s."
    again = [each.strip() for each in others if error and each.strip() == plain(error)]
    assert again == ([plain(error)] if error and plain(error) not in says else [])


@pytest.mark.parametrize(
    ("status", "outcome", "error", "says"),
    [
        (404, Outcome.ORIGIN_MISSING, "no such resource", "404, the origin has no such resource"),
        (404, Outcome.ORIGIN_MISSING, None, "404, the origin has no such resource"),
        (404, Outcome.ORIGIN_MISSING, "gone\x07", r"404, the origin has no such resource: gone\x07"),
        (
            404,
            Outcome.ORIGIN_MISSING,
            "the origin has no such resource: no error text in the reply",
            "404, the origin has no such resource: no error text in the reply",
        ),
        (200, Outcome.UNAVAILABLE, "not from Kodo", "200, not from Kodo"),
        (None, Outcome.UNAVAILABLE, "no connection to io", "no answer: no connection to io"),
    ],
)
def test_the_same_is_not_said_twice(status: int | None, outcome: Outcome, error: str | None, says: str) -> None:
    assert came(status, outcome, error) == says


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (replace(STALE, last_at=None, last_error="missing in bucket"), "not asked yet"),
        (
            replace(STALE, last_reqid="r\x07", last_error="E\x1b"),
            r"origin-failing: 478, the origin answered neither 200 nor 404: E\x1b (reqid r\x07)",
        ),
        (
            replace(STALE, last_status=None, last_outcome=Outcome.UNAVAILABLE, last_error="no route"),
            "unavailable: no answer: no route",
        ),
    ],
    ids=["never", "hostile", "silent"],
)
def test_the_last_attempt_on_a_line(row: ObjectRow, says: str) -> None:
    assert last_in_words(row) == says


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (replace(STALE, last_at=None, last_error=None), "Nothing yet."),
        (replace(STALE, last_error=None), "Last 12:02:20Z, 10 s ago: 478, the origin answered neither 200 nor 404."),
    ],
    ids=["never tried", "tried before attempts were kept"],
)
def test_without_attempts_the_row_says_what_it_knows(row: ObjectRow, says: str) -> None:
    assert passage("What was tried", story(row)) == says


def test_a_pull_without_an_end_is_told_with_what_is_waited_for() -> None:
    pending = Pending(
        operation=Operation.PREFETCH, began_at=ago(60), until=ago(-240), put_after=1, looks=3, reqid="its-reqid"
    )

    text = story(replace(STALE, pending=pending))

    assert passage("A pull that may still be running", text).splitlines() == [
        "A prefetch was asked for 12:01:30Z, 60 s ago, and its end was not seen.",
        "What is waited for: an object that was stored since; the bucket was looked at 3 times.",
        "By 12:06:30Z, in 4 min, it will surely have ended.",
        "  X-Reqid its-reqid",
    ]
    assert passage("What comes next", text) == ("At 12:03:10Z, in 40 s, the bucket is looked at: has that pull ended?")


@pytest.mark.parametrize(
    ("looks", "says"),
    [(0, "was not looked at yet."), (1, "was looked at once."), (2, "was looked at twice."), (3, "looked at 3 times.")],
)
def test_looks_are_counted_in_words(looks: int, says: str) -> None:
    pending = Pending(operation=Operation.ASYNC_FETCH, began_at=ago(60), until=NOW, put_after=1, looks=looks)

    first, waited, *_ = passage("A pull that may still be running", story(replace(STALE, pending=pending))).splitlines()

    assert first.startswith("An async-fetch was asked for")
    assert waited.endswith(says)


REMOVAL = replace(STALE, wanted=None, why=Why.REMOVED)
PARKED = replace(STALE, state=State.PARKED, due_at=None)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (replace(STALE, state=State.FRESH), ["Nothing, until the origin changes."]),
        (replace(REMOVAL, state=State.FRESH), ["Nothing, until the origin has it."]),
        (STALE, ["It is asked for again at 12:03:10Z, in 40 s, unless it changes before."]),
        (replace(STALE, attempts=0, due_at=ago(1)), ["It is asked for as soon as a running service can."]),
        (REMOVAL, ["It is deleted from the bucket at 12:03:10Z, in 40 s, unless it changes before."]),
        (
            replace(STALE, state=State.CLAIMED, lease_until=ago(-60)),
            ["It is being asked for now."],
        ),
        (
            replace(STALE, state=State.CLAIMED, lease_until=ago(0)),
            ["Whoever worked on it is gone: a running service takes it up again."],
        ),
        (
            replace(PARKED, last_status=500, last_outcome=Outcome.UNAVAILABLE),
            [
                "It waits for you:",
                "  mirrord retry docs 'a/b c.txt'",
                "A new version at the origin is tried by itself.",
            ],
        ),
        (
            replace(REMOVAL, state=State.PARKED, last_status=608),
            [
                "Somebody else put the object there: remove it by hand if it is to go.",
                "It waits for you:",
                "  mirrord retry docs 'a/b c.txt'",
                "A retry deletes only what was put there from here. If the origin has the key again, that counts.",
            ],
        ),
        (
            replace(REMOVAL, state=State.HELD, due_at=None),
            [
                "Unless the guard lets it go, it waits for you. To delete all held removals from the bucket:",
                "  mirrord release docs",
                "To keep them there: mirrord release --drop docs.",
            ],
        ),
    ],
    ids=[
        "fresh",
        "settled",
        "due later",
        "due",
        "removal",
        "claimed",
        "claim lapsed",
        "parked",
        "parked removal",
        "held",
    ],
)
def test_it_says_what_comes_next_and_how_a_person_moves_it(row: ObjectRow, says: list[str]) -> None:
    assert passage("What comes next", story(row)).splitlines() == says


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (STALE, "It is asked for again once a service runs."),
        (replace(REMOVAL, due_at=ago(1)), "It is deleted from the bucket once a service runs."),
        (
            replace(STALE, state=State.CLAIMED, lease_until=ago(-60)),
            "Whoever worked on it is gone: a running service takes it up again.",
        ),
    ],
    ids=["stale", "removal", "claimed"],
)
def test_where_no_service_works_nothing_is_promised_for_a_time(row: ObjectRow, says: str) -> None:
    text = story(row, held=HELD, served=False)

    assert passage("What comes next", text).splitlines() == [says, "No service works with this journal now."]
    assert "When it last ran: " in passage("What kept docs from calling", text)


def test_a_look_that_no_service_takes_is_not_promised() -> None:
    pending = Pending(operation=Operation.PREFETCH, began_at=ago(60), until=ago(-240), put_after=1)

    text = story(replace(STALE, pending=pending), served=False)

    assert passage("What comes next", text).splitlines()[0].startswith("Once a service runs, the bucket is looked at")


def test_what_is_fresh_needs_no_service() -> None:
    text = story(replace(STALE, state=State.FRESH), served=False)

    assert passage("What comes next", text) == "Nothing, until the origin changes."


@pytest.mark.parametrize("seconds", [-0.4, 0, 0.4])
def test_now_is_now(seconds: float) -> None:
    text = story(replace(STALE, due_at=ago(seconds), last_at=ago(seconds), last_error=None))

    assert "0 s" not in passage("What was tried", text) + passage("What comes next", text)
    assert passage("What comes next", text) == "It is asked for again as soon as a running service can."


@pytest.mark.parametrize(
    ("status", "outcome", "reqid", "says"),
    [
        (599, Outcome.UNAVAILABLE, "r", "ask Qiniu's support"),
        (614, Outcome.REFUSED, "r", "ask Qiniu's support"),
        (403, Outcome.ORIGIN_FAILING, "r", "check what the origin"),
        (None, Outcome.TIMED_OUT, None, "the file is too large, or the origin too slow"),
        (404, Outcome.ORIGIN_MISSING, "r", "check that the origin's web server"),
        (500, Outcome.UNAVAILABLE, None, None),
        (None, None, None, None),
    ],
)
def test_a_parked_key_has_the_advice_that_the_log_has(
    status: int | None, outcome: Outcome | None, reqid: str | None, says: str | None
) -> None:
    advice = way_out(replace(PARKED, last_status=status, last_outcome=outcome, last_reqid=reqid))

    assert (advice or "").startswith(says or "")
    assert (advice is None) == (says is None)


def test_a_parked_key_that_the_bucket_contradicted_is_told_how_to_find_out() -> None:
    advice = way_out(replace(PARKED, last_status=200, last_outcome=Outcome.REFRESHED))

    assert advice is not None
    assert advice.startswith("compare what the origin's URL serves")


def test_what_keeps_the_mirror_from_calling_is_told_and_put_before_what_comes_next() -> None:
    text = story(STALE, held=HELD)

    assert passage("What keeps docs from calling", text) == (
        "Kodo refuses the account or the bucket since 12:00:03Z (2 min): no such bucket, status 631, "
        "X-Reqid its-reqid; next try 12:05:00Z, or at once after a restart."
    )
    assert "keeps docs from calling" in passage("What comes next", text)


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (
            HELD,
            "Kodo refuses the account or the bucket since 12:00:03Z (2 min): no such bucket, status 631, X-Reqid its-",
        ),
        (
            replace(HELD, name="origin", reqid=None, status=None, until=None),
            "breaker of the origin open since 12:00:03Z (2 min): Kodo refuses the account or the bucket: no such",
        ),
        (replace(HELD, name="kodo"), "breaker of Kodo open since"),
        (replace(HELD, name="throttled"), "throttled since"),
        (replace(HELD, name="n\x1bew", reason="a\x07b"), r"n\x1bew since 12:00:03Z (2 min): a\x07b"),
        (
            replace(HELD, until=ago(1)),
            "Kodo refuses the account or the bucket since 12:00:03Z (2 min): no such bucket, status 631, X-Reqid",
        ),
    ],
    ids=["held", "origin", "kodo", "throttled", "one that is not known", "over"],
)
def test_a_condition_in_words(condition: Condition, says: str) -> None:
    text = condition_in_words(condition, NOW)

    assert text.startswith(says)
    later = "next try 12:05:00Z" + (", or at once after a restart" if condition.name == "held" else "")
    assert text.endswith(later if (condition.until or NOW) > NOW else "next try at any time")


def test_a_mirror_that_is_slowed_down_calls_all_the_same() -> None:
    paced = replace(HELD, name="paced", until=None, status=None, reqid=None, reason="Kodo refuses more than 8 a second")

    text = story(STALE, held=paced)

    assert passage("What slows docs down", text) == (
        "Slowed down since 12:00:03Z (2 min): Kodo refuses more than 8 a second; calls go on at that rate."
    )
    assert "nothing is asked" not in text


@pytest.mark.parametrize("until", [ago(-150), ago(1), None], ids=["later", "over", "at any time"])
def test_of_a_service_that_is_gone_a_condition_promises_nothing(until: datetime | None) -> None:
    text = condition_in_words(replace(HELD, until=until), NOW, served=False)

    assert text.startswith("when it last ran: Kodo refuses the account or the bucket since 12:00:03Z (2 min): no such")
    assert text.endswith("X-Reqid its-reqid; a service that is started now tries at once")


@pytest.mark.parametrize(
    ("coverage", "says"),
    [
        (Coverage(), "The origin has not been seen whole yet: it may have another version than this."),
        (
            replace(WHOLE, lost_since=ago(86400 * 3), lost_reason="over\nflow"),
            r"Changes since 2026-11-17 12:02:30Z, 3 d ago may have been missed (over\nflow); the next look finds them.",
        ),
        (
            replace(WHOLE, lost_since=ago(7), lost_reason="completeness is unknown: no snapshot"),
            "Changes since 12:02:23Z, 7 s ago may have been missed (completeness is unknown: no snapshot).",
        ),
    ],
    ids=["no scan", "lost", "unknown"],
)
def test_a_mirror_that_may_have_missed_something_says_so(coverage: Coverage, says: str) -> None:
    assert passage("What may be missing", story(STALE, coverage=coverage)) == says


def test_nothing_is_said_of_what_is_not_the_case() -> None:
    headings = re.findall(r"^# (.*)", story(STALE), re.MULTILINE)

    assert headings == [
        "What the origin has",
        "What the bucket holds",
        "Where it stands",
        "What was tried",
        "What comes next",
    ]


# -- words -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "says"),
    [(-5, "0 s"), (0.9, "0 s"), (119.9, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (172800, "2 d")],
)
def test_a_span_is_in_the_largest_unit_of_which_there_are_two(seconds: float, says: str) -> None:
    assert span(timedelta(seconds=seconds)) == says


def test_a_moment_has_its_date_where_that_is_not_todays() -> None:
    assert moment(ago(30), NOW) == "12:02:00Z"
    assert moment(ago(86400), NOW) == "2026-11-19 12:02:30Z"


HOSTILE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(HOSTILE, HOSTILE)
@example("\x1b[31m<script>", "\x1b[2J")
@example("\u202egpj.exe", "\u2028")
def test_nothing_in_a_story_moves_the_cursor(key: str, error: str) -> None:
    row = replace(PARKED, key=key, last_error=error, bucket_hash=error, last_status=404, wanted=of_token(key))
    attempt = replace(TRIED, error=error, reqid=error)

    text = story(
        row, attempt, held=replace(HELD, reason=error), coverage=replace(WHOLE, lost_since=NOW, lost_reason=error)
    )

    assert all(line.isprintable() for line in text.split("\n"))


@given(st.text())
def test_what_can_be_printed_is_shown_as_it_is(text: str) -> None:
    shown = plain(text)

    assert shown.isprintable()
    assert shown == text or not text.isprintable()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash to read what it is to read")
@pytest.mark.parametrize(
    "key",
    [
        "a/b c.txt",
        "it's",
        "\x1b[31mf",
        "\x01\x7ff'\\",
        "-rf",
        "$(id) `id` \\",
        "中 文\n😀",
        "\u202e\u0085\U000e0001",
        "\n\x1bA9",
    ],
    ids=ascii,
)
def test_a_command_is_read_by_a_shell_as_the_key_that_it_is_for(key: str) -> None:
    line = command("retry", "docs", key)

    read = subprocess.run(
        ["bash", "-c", f"mirrord() {{ printf '%s\\0' \"$@\"; }}; {line}"],
        env={"LC_ALL": "C.UTF-8"},
        capture_output=True,
        check=True,
    )

    words = read.stdout.decode().split("\0")[:-1]
    assert line.isprintable()
    assert words == ["retry", "docs", *(["--"] if key.startswith("-") else []), key]
