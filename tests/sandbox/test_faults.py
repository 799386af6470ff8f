"""Rules of what shall go wrong: how they are written, which one a call meets."""

import pytest

from mirrord.sandbox.faults import Fault, Faults, fault_from, parse_fault


def drawn(faults: Faults, *calls: tuple[str, str | None]) -> list[int | None]:
    met = [faults.draw(operation, key) for operation, key in calls]
    return [rule.status if rule else None for rule in met]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("prefetch:478:0.1", Fault(operation="prefetch", status=478, probability=0.1)),
        ("stat:599", Fault(operation="stat", status=599)),
        ("*:drop:0.5", Fault(drop=True, probability=0.5)),
        ("prefetch:stale", Fault(operation="prefetch", stale=True)),
        ("prefetch:cut", Fault(operation="prefetch", cut=True)),
        ("list:html:0.5", Fault(operation="list", html=True, probability=0.5)),
    ],
)
def test_a_rule_is_written_in_one_word(text: str, rule: Fault) -> None:
    assert parse_fault(text) == rule


@pytest.mark.parametrize("text", ["", "prefetch", "prefetch:", "prefetch:often", "a:478:x", "a:478:2", "a:99"])
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        parse_fault(text)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"drop": 1}, id="number-for-flag"),
        pytest.param({"status": True}, id="flag-for-number"),
        pytest.param({"times": 0}, id="never"),
        pytest.param({"delay_s": -1}, id="before-it-was-asked"),
        pytest.param({"bucket": "docs"}, id="unknown"),
        pytest.param("prefetch", id="no-object"),
        pytest.param({"hold_s": -1}, id="held-backwards"),
        pytest.param({"headers": {"X-Log": 1}}, id="number-for-header"),
        pytest.param({"headers": {"X Log": "a"}}, id="header-with-a-blank"),
        pytest.param({"headers": {"X-Log": "a\r\nb: c"}}, id="header-of-two-lines"),
    ],
)
def test_json_that_is_no_rule_is_refused(fields: object) -> None:
    with pytest.raises(ValueError, match=r"a fault|at least 1"):
        fault_from(fields)


@pytest.mark.parametrize(
    ("rule", "fails"),
    [
        pytest.param(Fault(delay_s=1, hold_s=1), False, id="late"),
        pytest.param(Fault(stale=True), False, id="stale"),
        pytest.param(Fault(headers={"X-Reqid": None}), False, id="marked"),
        pytest.param(Fault(status=200), True, id="status"),
        pytest.param(Fault(html=True), True, id="page"),
        pytest.param(Fault(cut=True), True, id="cut"),
        pytest.param(Fault(drop=True), True, id="drop"),
    ],
)
def test_a_rule_fails_the_call_or_only_bends_it(rule: Fault, fails: bool) -> None:
    assert rule.fails is fails


def test_the_first_rule_that_matches_is_met_until_it_is_used_up() -> None:
    faults = Faults(lambda: 0.0, [Fault(key="a/*", status=478, times=2), Fault(operation="stat", status=599)])

    met = drawn(faults, ("stat", "a/1"), ("stat", "b"), ("prefetch", "b"), ("prefetch", "a/b/c"), ("prefetch", "a/1"))

    assert met == [478, 599, None, 478, None]
    assert [rule["status"] for rule in faults.listed()] == [599]


def test_a_call_without_a_key_is_met_by_rules_for_all_keys() -> None:
    faults = Faults(lambda: 0.0, [Fault(key="a*", status=478), Fault(status=599)])

    assert drawn(faults, ("batch", None)) == [599]


def test_a_rule_with_a_probability_asks_the_dice_and_does_not_wear_out_by_it() -> None:
    dice = iter([0.5, 0.49, 0.0])
    faults = Faults(lambda: next(dice), [Fault(status=478, probability=0.5, times=1)])

    assert drawn(faults, ("stat", "a"), ("stat", "a"), ("stat", "a")) == [None, 478, None]
