"""What a CDN is told next, what its answers mean, and when there is a new quota."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.purging import (
    FORBIDDEN_PAUSE,
    LINGER,
    URLS_MOST,
    OverQuota,
    Owed,
    Send,
    Verdict,
    Wait,
    choose,
    cost_of,
    judge,
    left_after,
    pause_after,
    quota_returns,
    struck,
)
from mirrord.model.attempt import Content, Reply, Silence
from mirrord.model.purge import Purge, PurgeAnswer

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
A_MOMENT = timedelta(microseconds=1)


def owed(key: str, *urls: str, due_in: timedelta = LINGER, strikes: int = 0) -> Owed:
    purge = Purge(key=key, asked=1, since=NOW, due_at=NOW + due_in, strikes=strikes)
    return Owed(purge, urls or (f"http://a.example.com/{key}",))


def many(count: int, *, due_in: timedelta = LINGER, strikes: int = 0) -> list[Owed]:
    return [owed(f"{n}", due_in=due_in, strikes=strikes) for n in range(count)]


def answer(code: int = 200, *, surplus: int | None = 400, invalid: tuple[str, ...] = ()) -> PurgeAnswer:
    return PurgeAnswer(code=code, error=None, request_id="q", invalid_urls=invalid, quota_day=500, surplus_day=surplus)


# -- what to send ------------------------------------------------------------------------------------------


def test_a_batch_goes_when_its_first_key_has_waited_long_enough() -> None:
    waiting = many(3)

    early = choose(waiting, NOW + LINGER - A_MOMENT, left=None)
    in_time = choose(waiting, NOW + LINGER, left=None)

    assert early == Wait(NOW + LINGER)
    assert in_time == Send(tuple(waiting))


def test_a_full_batch_goes_at_once() -> None:
    assert choose(many(URLS_MOST), NOW, left=None) == Send(tuple(many(URLS_MOST)))
    assert choose(many(URLS_MOST - 1), NOW, left=None) == Wait(NOW + LINGER)


def test_a_batch_with_no_room_for_the_next_key_is_full() -> None:
    waiting = [owed(f"{n}", *(f"http://{name}.example.com/{n}" for name in "abc")) for n in range(20)]

    plan = choose(waiting, NOW, left=None)

    assert isinstance(plan, Send)
    assert plan.parts == tuple(waiting[:16])
    assert len(plan.urls) == 48


def test_a_key_with_more_addresses_than_a_request_takes_goes_alone_and_in_parts() -> None:
    urls = tuple(f"http://{n}.example.com/a" for n in range(70))

    plan = choose([owed("a", *urls), owed("b")], NOW, left=None)

    assert isinstance(plan, Send)
    assert plan.urls == list(urls[:URLS_MOST])


def test_nothing_is_waited_for_when_nothing_can_come() -> None:
    assert choose(many(1), NOW, left=None, hurried=True) == Send(tuple(many(1)))
    assert choose([], NOW, left=None, hurried=True) == Wait(None)


@pytest.mark.parametrize(
    ("left", "keys"), [(5, 2), (4, 2), (3, 1), (2, 1)], ids=["one-over", "exact", "one-over-one", "one"]
)
def test_no_more_is_sent_than_the_days_quota_has_left_and_https_counts_twice(left: int, keys: int) -> None:
    waiting = [owed(f"{n}", f"https://a.example.com/{n}") for n in range(9)]

    plan = choose(waiting, NOW, left=left)

    assert isinstance(plan, Send)
    assert len(plan.parts) == keys
    assert cost_of(plan.urls) <= left


@pytest.mark.parametrize("left", [0, 1])
def test_what_the_quota_has_no_room_for_waits(left: int) -> None:
    assert choose([owed("a", "https://a.example.com/a")], NOW + LINGER, left=left) == OverQuota()


def test_keys_that_were_refused_together_are_sent_in_halves_and_apart_from_others() -> None:
    refused = many(40, due_in=-LINGER, strikes=1)

    plan = choose([*refused, *many(10)], NOW, left=None)
    later = choose(many(40, due_in=-LINGER, strikes=9), NOW, left=None)

    assert plan == Send(tuple(refused[:25]))
    assert isinstance(later, Send)
    assert len(later.parts) == 1


def test_a_refused_key_holds_up_nobody_before_it_is_due() -> None:
    refused, others = many(1, due_in=timedelta(seconds=1), strikes=3), many(URLS_MOST)

    assert choose([*refused, *others], NOW, left=None) == Send(tuple(others))
    assert choose([*refused, *others[1:]], NOW, left=None) == Wait(NOW + timedelta(seconds=1))


@given(
    st.lists(
        st.tuples(st.integers(1, 60), st.sampled_from(["http", "https"]), st.integers(0, 12), st.integers(-9, 9)),
        max_size=60,
    ),
    st.none() | st.integers(0, 300),
    st.booleans(),
)
def test_whatever_waits_a_request_keeps_to_every_limit_and_splits_only_a_key_that_is_alone(
    keys: list[tuple[int, str, int, int]], left: int | None, hurried: bool
) -> None:
    waiting = [
        owed(f"{n}", *(f"{kind}://{m}.example.com/{n}" for m in range(count)), due_in=timedelta(seconds=due), strikes=s)
        for n, (count, kind, s, due) in enumerate(keys)
    ]
    waiting.sort(key=lambda each: each.purge.due_at)

    plan = choose(waiting, NOW, left=left, hurried=hurried)

    match plan:
        case Send(parts):
            assert 0 < len(plan.urls) <= URLS_MOST
            assert left is None or cost_of(plan.urls) <= left
            whole = [each for each in waiting if each in parts]
            assert list(parts) == whole or len(parts) == 1
        case Wait(until):
            assert until is None or until > NOW or not waiting
            assert not (hurried and any(not each.purge.strikes for each in waiting))
        case OverQuota():
            assert left is not None
            assert left < 2


# -- what an answer means ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "said", "verdict"),
    [
        pytest.param(Reply(status=200), answer(), Verdict.TAKEN, id="taken"),
        pytest.param(Reply(status=200), answer(surplus=0), Verdict.TAKEN, id="taken-the-last-of-today"),
        pytest.param(Reply(status=200), answer(400034), Verdict.OVER_QUOTA, id="quota"),
        pytest.param(Reply(status=400), answer(400034, surplus=None), Verdict.OVER_QUOTA, id="quota-as-a-400"),
        pytest.param(Reply(status=200), answer(400000, surplus=0), Verdict.OVER_QUOTA, id="none-left"),
        pytest.param(Reply(status=200), answer(400032), Verdict.REFUSED, id="invalid-host"),
        pytest.param(Reply(status=400, content=Content.JSON), None, Verdict.REFUSED, id="400"),
        pytest.param(Reply(status=401), None, Verdict.FORBIDDEN, id="401"),
        pytest.param(Reply(status=403), None, Verdict.FORBIDDEN, id="403"),
        pytest.param(Reply(status=419), None, Verdict.FORBIDDEN, id="frozen"),
        pytest.param(Reply(status=200), answer(403), Verdict.FORBIDDEN, id="403-in-the-body"),
        pytest.param(Reply(status=200), answer(401001), Verdict.FORBIDDEN, id="401001-in-the-body"),
        pytest.param(Reply(status=403), answer(403024), Verdict.UNAVAILABLE, id="too-often"),
        pytest.param(Reply(status=403, content=Content.FOREIGN), None, Verdict.UNAVAILABLE, id="a-proxys-403"),
        pytest.param(Reply(status=429), None, Verdict.UNAVAILABLE, id="429"),
        pytest.param(Reply(status=503), None, Verdict.UNAVAILABLE, id="503"),
        pytest.param(Reply(status=200), answer(500000), Verdict.UNAVAILABLE, id="500000-in-the-body"),
        pytest.param(Reply(status=503), answer(200), Verdict.UNAVAILABLE, id="200-in-the-body-alone"),
        pytest.param(Reply(status=200, content=Content.JSON), None, Verdict.UNAVAILABLE, id="no-code"),
        pytest.param(Reply(status=200, content=Content.FOREIGN), None, Verdict.UNAVAILABLE, id="a-portal"),
        pytest.param(Reply(status=302), None, Verdict.UNAVAILABLE, id="a-redirect"),
        pytest.param(Reply(status=None, silence=Silence.TIMED_OUT), None, Verdict.UNAVAILABLE, id="silence"),
    ],
)
def test_only_a_200_with_a_200_in_its_body_is_a_yes(reply: Reply, said: PurgeAnswer | None, verdict: Verdict) -> None:
    assert judge(reply, said) is verdict


def test_pauses_grow_up_to_ten_minutes_and_are_never_shorter_than_what_was_asked_for() -> None:
    def pause(verdict: Verdict, failures: int, chance: float, retry_after_s: float | None = None) -> timedelta:
        return pause_after(verdict, failures=failures, chance=chance, retry_after_s=retry_after_s)

    assert [pause(Verdict.UNAVAILABLE, n, 1.0).total_seconds() for n in (1, 2, 3, 11, 999)] == [1, 2, 4, 600, 600]
    assert pause(Verdict.UNAVAILABLE, 3, 0.5) == timedelta(seconds=2)
    assert pause(Verdict.UNAVAILABLE, 1, 0.0, 30) == timedelta(seconds=30)
    assert pause(Verdict.FORBIDDEN, 1, 0.0) == FORBIDDEN_PAUSE == timedelta(minutes=10)


def test_a_refused_key_is_due_again_later_and_later() -> None:
    first = struck(owed("a").purge, NOW, 1.0)
    second = struck(first, NOW, 1.0)

    assert [each.strikes for each in (first, second)] == [1, 2]
    assert [each.due_at - NOW for each in (first, second)] == [timedelta(seconds=1), timedelta(seconds=2)]


@pytest.mark.parametrize(
    ("verdict", "surplus", "left", "expected"),
    [
        (Verdict.TAKEN, 7, None, 7),
        (Verdict.TAKEN, None, 30, 20),
        (Verdict.TAKEN, None, None, None),
        (Verdict.OVER_QUOTA, 7, None, 7),
        (Verdict.OVER_QUOTA, 10, None, 0),
        (Verdict.OVER_QUOTA, None, 30, 0),
        (Verdict.UNAVAILABLE, None, 30, 30),
    ],
    ids=["told", "counted", "unknown", "too-little-for-that", "enough-and-still-refused", "over", "nothing-said"],
)
def test_what_is_left_is_what_was_said_last_or_what_can_be_counted(
    verdict: Verdict, surplus: int | None, left: int | None, expected: int | None
) -> None:
    assert left_after(verdict, answer(surplus=surplus), left, 10) == expected


# -- days ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "returns"),
    [
        ("2026-11-20T12:00:00+00:00", "2026-11-20T16:00:00+00:00"),
        ("2026-11-20T15:59:59+00:00", "2026-11-20T16:00:00+00:00"),
        ("2026-11-20T16:00:00+00:00", "2026-11-20T16:10:00+00:00"),
        ("2026-11-20T16:10:00+00:00", "2026-11-21T16:00:00+00:00"),
        ("2026-12-31T20:00:00+00:00", "2027-01-01T16:00:00+00:00"),
    ],
    ids=["at-noon", "just-before-midnight", "when-their-day-may-not-have-begun", "when-it-has", "new-year"],
)
def test_there_is_a_new_quota_at_midnight_in_china(now: str, returns: str) -> None:
    found = quota_returns(datetime.fromisoformat(now))

    assert found.isoformat() == returns


@given(st.integers(0, 10 * 366 * 86400).map(lambda seconds: NOW + timedelta(seconds=seconds)))
def test_a_new_quota_is_never_more_than_a_day_away(now: datetime) -> None:
    assert now < quota_returns(now) <= now + timedelta(days=1)
