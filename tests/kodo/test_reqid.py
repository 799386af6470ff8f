"""When Kodo was asked, by the ids that it published."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.kodo.reqid import asked_at


def reqid_of(nanoseconds: int) -> str:
    return urlsafe_b64encode(b"proc" + nanoseconds.to_bytes(8, "little", signed=True)).decode()


@pytest.mark.parametrize(
    ("reqid", "expected"),
    [
        pytest.param("wxIAAD3btw-v3TwT", datetime(2013, 12, 5, 6, 55, 29, 275993, UTC), id="seed-prefetch"),
        pytest.param("swEAAMipp-5bIjMT", datetime(2013, 11, 3, 14, 1, 28, 774000, UTC), id="documented"),
        pytest.param("sT4AAOAMl7a0WIUU", datetime(2016, 11, 9, 9, 59, 45, 842000, UTC), id="a-real-478"),
        pytest.param("z0.io.wxIAAD3btw-v3TwT", datetime(2013, 12, 5, 6, 55, 29, 275993, UTC), id="dotted"),
    ],
)
def test_a_published_id_says_when_kodo_was_asked(reqid: str, expected: datetime) -> None:
    found = asked_at(reqid)

    assert found is not None
    assert abs(found - expected) < timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "reqid",
    [
        pytest.param("", id="nothing"),
        pytest.param("abc", id="short"),
        pytest.param("wxIAAD3btw-v3TwTAAAA", id="long"),
        pytest.param("wxIAAD3btw-v3TwT.", id="nothing-after-the-dot"),
        pytest.param("wxIAAD3btw+v3TwT", id="ordinary-base64"),
        pytest.param("wxIAAD3btw-v3Tw中", id="not-ascii"),
        pytest.param("wxIA AD3btw-v3Tw", id="blank"),
        pytest.param(reqid_of(0), id="1970"),
        pytest.param(reqid_of(-(2**63)), id="before-1970"),
        pytest.param(reqid_of(2**63 - 1), id="2262"),
    ],
)
def test_any_other_text_says_nothing(reqid: str) -> None:
    assert asked_at(reqid) is None


@given(st.one_of(st.text(), st.text("abcXYZ019-_.=+/", max_size=40), st.binary(max_size=20).map(urlsafe_b64encode)))
def test_any_text_is_an_instant_or_none(text: str | bytes) -> None:
    found = asked_at(text if isinstance(text, str) else text.decode())

    assert found is None or 2010 <= found.year <= 2100


@given(st.datetimes(datetime(2010, 1, 1), datetime(2100, 12, 31), timezones=st.just(UTC)))  # noqa: DTZ001 - bounds are naive there
def test_an_id_made_at_any_time_says_that_time(made_at: datetime) -> None:
    since = made_at - datetime(1970, 1, 1, tzinfo=UTC)

    assert asked_at(reqid_of(since // timedelta(microseconds=1) * 1000)) == made_at
