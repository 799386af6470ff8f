"""Every status that Qiniu documents, and every way not to get one, against what it means for the key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.verdict import ADVICE, FAILURES, judge
from mirrord.model.attempt import Fault, Operation, Outcome, Reply, Silence, Verdict

PULLS = [Operation.PREFETCH, Operation.FETCH, Operation.GLB_FETCH]

REFUSED_KEY = Verdict(outcome=Outcome.REFUSED, fault=Fault.KEY)
REFUSED_ACCOUNT = Verdict(outcome=Outcome.REFUSED, fault=Fault.ACCOUNT, counts=False)
TRANSIENT = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE)
NO_ANSWER = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE, counts=False)
THROTTLED = Verdict(outcome=Outcome.THROTTLED, fault=Fault.SERVICE, counts=False)
MISSING = Verdict(outcome=Outcome.ORIGIN_MISSING, fault=Fault.KEY)
ORIGIN = Verdict(outcome=Outcome.ORIGIN_FAILING, fault=Fault.ORIGIN)
TIMED_OUT = Verdict(outcome=Outcome.TIMED_OUT, fault=Fault.KEY)

STATUSES = [
    pytest.param(298, TRANSIENT, id="298-belongs-to-batches"),
    pytest.param(301, TRANSIENT, id="301-hijacked"),
    pytest.param(302, TRANSIENT, id="302-hijacked"),
    pytest.param(307, TRANSIENT, id="307-hijacked"),
    pytest.param(400, REFUSED_KEY, id="400-malformed"),
    pytest.param(401, REFUSED_ACCOUNT, id="401-keys-wrong"),
    pytest.param(403, REFUSED_ACCOUNT, id="403-no-permission-or-clock"),
    pytest.param(404, MISSING, id="404-origin-has-it-not"),
    pytest.param(405, REFUSED_KEY, id="405-wrong-method"),
    pytest.param(406, REFUSED_KEY, id="406-upload-crc"),
    pytest.param(413, REFUSED_KEY, id="413-too-large"),
    pytest.param(419, REFUSED_ACCOUNT, id="419-frozen"),
    pytest.param(429, THROTTLED, id="429-rate"),
    pytest.param(478, ORIGIN, id="478-origin-trouble"),
    pytest.param(408, ORIGIN, id="408-origin-did-not-wait"),
    pytest.param(410, REFUSED_KEY, id="410-another-4xx-the-origins-own"),
    pytest.param(425, ORIGIN, id="425-origin-too-early"),
    pytest.param(499, ORIGIN, id="499-hung-up-before-the-origin"),
    pytest.param(500, TRANSIENT, id="500-server"),
    pytest.param(501, REFUSED_KEY, id="501-permanent"),
    pytest.param(502, TRANSIENT, id="502-gateway"),
    pytest.param(503, TRANSIENT, id="503-unavailable"),
    pytest.param(504, TIMED_OUT, id="504-server-side-timeout"),
    pytest.param(509, THROTTLED, id="509-bandwidth"),
    pytest.param(571, THROTTLED, id="571-rate"),
    pytest.param(573, THROTTLED, id="573-one-resource-too-often"),
    pytest.param(579, REFUSED_KEY, id="579-callback"),
    pytest.param(599, TRANSIENT, id="599-operation-failed"),
    pytest.param(608, REFUSED_KEY, id="608-modified"),
    pytest.param(612, REFUSED_KEY, id="612-missing"),
    pytest.param(614, REFUSED_KEY, id="614-exists"),
    pytest.param(616, REFUSED_KEY, id="616-undocumented"),
    pytest.param(618, REFUSED_KEY, id="618-undocumented"),
    pytest.param(630, REFUSED_KEY, id="630-too-many-buckets"),
    pytest.param(631, REFUSED_ACCOUNT, id="631-no-such-bucket"),
    pytest.param(632, REFUSED_KEY, id="632-undocumented"),
    pytest.param(640, REFUSED_KEY, id="640-list-marker"),
    pytest.param(701, REFUSED_KEY, id="701-upload-context"),
    pytest.param(526, TRANSIENT, id="another-5xx-the-origins-own"),
    pytest.param(699, REFUSED_KEY, id="another-6xx"),
]


@pytest.mark.parametrize("operation", PULLS)
@pytest.mark.parametrize(("status", "verdict"), STATUSES)
def test_a_status_means(operation: Operation, status: int, verdict: Verdict) -> None:
    assert judge(operation, Reply(status=status, reqid="r", xlog="IO")) == verdict


@pytest.mark.parametrize("operation", PULLS)
def test_200_is_a_refresh(operation: Operation) -> None:
    assert judge(operation, Reply(status=200, reqid="r")) == Verdict(outcome=Outcome.REFRESHED)


@pytest.mark.parametrize("status", [200, 612])
def test_a_delete_has_succeeded_when_the_object_is_gone(status: int) -> None:
    assert judge(Operation.DELETE, Reply(status=status, reqid="r")) == Verdict(outcome=Outcome.REMOVED)


@pytest.mark.parametrize(
    ("reqid", "xlog", "believed"),
    [
        pytest.param("r", "IO", True, id="both"),
        pytest.param("r", None, True, id="reqid"),
        pytest.param(None, "IO", True, id="xlog"),
        pytest.param(None, None, False, id="neither"),
    ],
)
@pytest.mark.parametrize(
    ("operation", "status"),
    [*((operation, 200) for operation in Operation), (Operation.DELETE, 612)],
)
def test_a_success_without_kodos_marks_did_not_come_from_kodo(
    operation: Operation, status: int, reqid: str | None, xlog: str | None, believed: bool
) -> None:
    verdict = judge(operation, Reply(status=status, reqid=reqid, xlog=xlog))

    assert (verdict.fault is None) is believed
    if not believed:
        assert verdict == TRANSIENT


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    ("silence", "verdict"),
    [
        pytest.param(Silence.CONNECT_FAILED, NO_ANSWER, id="never-asked"),
        pytest.param(Silence.BROKEN, NO_ANSWER, id="broken"),
        pytest.param(Silence.TIMED_OUT, TIMED_OUT, id="timed-out"),
        pytest.param(None, NO_ANSWER, id="unexplained"),
    ],
)
def test_no_answer_means(operation: Operation, silence: Silence | None, verdict: Verdict) -> None:
    assert judge(operation, Reply(status=None, silence=silence)) == verdict


@given(st.sampled_from(Operation), st.integers(min_value=100, max_value=999), st.booleans())
def test_only_200_or_a_deletes_612_is_ever_a_success(operation: Operation, status: int, marked: bool) -> None:
    verdict = judge(operation, Reply(status=status, reqid="r" if marked else None))

    succeeded = marked and (status == 200 or (operation is Operation.DELETE and status == 612))
    assert (verdict.fault is None) is succeeded
    assert (verdict.outcome in (Outcome.REFRESHED, Outcome.REMOVED)) is succeeded


def test_a_failure_that_is_not_the_keys_own_strikes_it_only_when_kodo_answered_for_it() -> None:
    spared = {status for status, verdict in FAILURES.items() if not verdict.counts}

    assert spared == {401, 403, 419, 429, 509, 571, 573, 631}


def test_whatever_stops_the_account_comes_with_advice() -> None:
    stopping = {status for status, verdict in FAILURES.items() if verdict.fault is Fault.ACCOUNT}

    assert stopping == set(ADVICE)
