"""How many removals go at once: never more than either bound, one always, none where the settings say none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.removals import RemovalLimit, may_go


@pytest.mark.parametrize(
    ("limit", "keys", "most"),
    [
        pytest.param(RemovalLimit(), 20_000, 1000, id="the-count-is-less"),
        pytest.param(RemovalLimit(), 500, 50, id="the-fraction-is-less"),
        pytest.param(RemovalLimit(), 501, 51, id="a-part-of-a-key-is-a-key"),
        pytest.param(RemovalLimit(), 3, 1, id="one-always-may"),
        pytest.param(RemovalLimit(fraction=0), 20_000, 1, id="also-where-the-fraction-is-none"),
        pytest.param(RemovalLimit(), 0, 1, id="also-of-nothing"),
        pytest.param(RemovalLimit(count=0), 20_000, 0, id="a-count-of-0-is-none"),
        pytest.param(RemovalLimit(count=0, fraction=1), 1, 0, id="not-even-one"),
        pytest.param(RemovalLimit(count=10**9, fraction=1), 20_000, 20_000, id="everything"),
    ],
)
def test_so_many_of_all_keys_may_go(limit: RemovalLimit, keys: int, most: int) -> None:
    assert limit.most(keys) == most


@pytest.mark.parametrize(
    ("waiting", "just_gone", "keys", "go"),
    [
        pytest.param(10, 0, 90, True, id="a-tenth-of-what-there-was"),
        pytest.param(12, 0, 90, False, id="more-than-a-tenth"),
        pytest.param(5, 5, 90, True, id="with-those-just-gone-a-tenth"),
        pytest.param(5, 7, 90, False, id="with-those-just-gone-more"),
        pytest.param(1, 0, 0, True, id="the-last-key"),
        pytest.param(1, 1, 0, False, id="the-last-key-right-after-another"),
    ],
)
def test_what_waits_and_what_just_went_count_together(waiting: int, just_gone: int, keys: int, go: bool) -> None:
    assert may_go(waiting=waiting, just_gone=just_gone, keys=keys, limit=RemovalLimit()) is go


limits = st.builds(RemovalLimit, count=st.integers(0, 10**7), fraction=st.floats(0, 1))
counts = st.integers(0, 10**7)


@given(limits, st.integers(1, 10**7), counts, counts)
def test_what_may_go_never_passes_either_bound(limit: RemovalLimit, waiting: int, just_gone: int, keys: int) -> None:
    if may_go(waiting=waiting, just_gone=just_gone, keys=keys, limit=limit):
        assert waiting + just_gone <= limit.count
        assert waiting + just_gone == 1 or waiting + just_gone < limit.fraction * (keys + waiting + just_gone) + 1


@given(limits, st.integers(2, 10**7), counts, counts)
def test_fewer_may_go_wherever_more_may(limit: RemovalLimit, waiting: int, just_gone: int, keys: int) -> None:
    if may_go(waiting=waiting, just_gone=just_gone, keys=keys, limit=limit):
        assert may_go(waiting=waiting - 1, just_gone=just_gone, keys=keys + 1, limit=limit)
