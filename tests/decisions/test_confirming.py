"""Whether a HEAD shows the version that a feed told of, and how long to wait for it."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.confirming import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    Shown,
    can_never_be_seen,
    is_confirmed,
    next_look,
    says_anything,
)
from mirrord.model.fingerprint import Fingerprint, of_file, of_token

T1, T2, T3 = (datetime(2026, 1, 1, hour, tzinfo=UTC) for hour in (1, 2, 3))
FILE = of_file(5, 1, 1, 1)


@pytest.mark.parametrize(
    ("wanted", "shown", "confirmed"),
    [
        pytest.param(of_token("v", etag="b"), Shown(status=200, etag="b"), True, id="etag"),
        pytest.param(of_token("v", etag="b"), Shown(status=200, etag="a"), False, id="another etag"),
        pytest.param(of_token("v", modified=T2), Shown(status=200, modified=T2), True, id="modified then"),
        pytest.param(of_token("v", modified=T2), Shown(status=200, modified=T3), True, id="modified again"),
        pytest.param(of_token("v", modified=T2), Shown(status=200, modified=T1), False, id="modified before"),
        pytest.param(
            of_token("v", etag="b", modified=T2),
            Shown(status=200, etag="c", modified=T3),
            True,
            id="a newer version of both",
        ),
        pytest.param(
            of_token("v", etag="b", modified=T2), Shown(status=200, etag="a", modified=T1), False, id="an older one"
        ),
        pytest.param(of_token("v", size_bytes=5), Shown(status=200, size_bytes=5), True, id="size"),
        pytest.param(of_token("v", size_bytes=5), Shown(status=200, size_bytes=4), False, id="another size"),
        pytest.param(of_token("v", size_bytes=5), Shown(status=200), True, id="no size to be seen"),
        pytest.param(
            of_token("v", size_bytes=5, etag="b"),
            Shown(status=200, etag="b", size_bytes=4),
            True,
            id="etag first",
        ),
        pytest.param(of_token("v", etag="b"), Shown(status=200, modified=T1), True, id="nothing to compare"),
        pytest.param(of_token("v"), Shown(status=200), True, id="nothing said"),
        pytest.param(FILE, Shown(status=200, size_bytes=4), True, id="of a file"),
        pytest.param(of_token("v", etag="b"), Shown(status=None), False, id="no answer"),
        pytest.param(of_token("v", etag="b"), Shown(status=404, etag="b"), False, id="not there yet"),
        pytest.param(of_token("v", etag="b"), Shown(status=304, etag="b"), False, id="no content"),
        pytest.param(None, Shown(status=404), True, id="gone"),
        pytest.param(None, Shown(status=410), True, id="gone for good"),
        pytest.param(None, Shown(status=200), False, id="still there"),
        pytest.param(None, Shown(status=403), False, id="nobody may know"),
        pytest.param(None, Shown(status=None), False, id="removed, and no answer"),
    ],
)
def test_what_is_shown_is_compared_as_far_as_it_can_be(
    wanted: Fingerprint | None, shown: Shown, confirmed: bool
) -> None:
    assert is_confirmed(wanted, shown) == confirmed


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (None, True),
        (FILE, False),
        (of_token("v"), False),
        (of_token("v", etag="e"), True),
        (of_token("v", modified=T1), True),
        (of_token("v", size_bytes=0), True),
    ],
)
def test_a_version_of_which_a_head_shows_nothing_needs_no_look(wanted: Fingerprint | None, says: bool) -> None:
    assert says_anything(wanted) == says


@pytest.mark.parametrize("status", [405, 501])
def test_an_origin_that_answers_no_head_is_not_waited_for(status: int) -> None:
    assert can_never_be_seen(of_token("v", etag="e"), Shown(status=status))
    assert not can_never_be_seen(None, Shown(status=status)), "a removal can wait"
    assert not can_never_be_seen(of_token("v", etag="e"), Shown(status=404))
    assert not can_never_be_seen(of_token("v", etag="e"), Shown(status=None))


@given(waited=st.timedeltas(timedelta(0), timedelta(days=2)), most=st.timedeltas(timedelta(0), timedelta(days=1)))
def test_the_next_look_is_neither_at_once_nor_long_after_the_end(waited: timedelta, most: timedelta) -> None:
    pause = next_look(waited, most)

    if waited >= most:
        assert pause is None
    else:
        assert pause is not None
        assert FIRST_PAUSE <= pause <= LONGEST_PAUSE
        assert waited + pause <= most + FIRST_PAUSE


def test_looks_become_rarer_and_come_to_an_end() -> None:
    waited, looks = timedelta(0), 0
    while (pause := next_look(waited, timedelta(minutes=10))) is not None:
        waited, looks = waited + pause, looks + 1

    assert looks < 35
    assert waited < timedelta(minutes=10, seconds=2)
