"""Every status that Qiniu documents, every way not to get one, and who may have answered instead of Kodo."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.statuses import CLASSES, CLOCK_ADVICE, SILENCES, STATUSES, meaning_of
from mirrord.decisions.verdict import ADVICE, FAILURES, NOT_OURS, advice, judge, wording
from mirrord.kodo.replies import read_reply
from mirrord.model.attempt import PULLS, Content, Fault, Operation, Outcome, Reply, Silence, Verdict

REFRESHED = Verdict(outcome=Outcome.REFRESHED)
REMOVED = Verdict(outcome=Outcome.REMOVED)
REFUSED = Verdict(outcome=Outcome.REFUSED, fault=Fault.KEY)
ACCOUNT = Verdict(outcome=Outcome.REFUSED, fault=Fault.ACCOUNT, counts=False)
TRANSIENT = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE)
AWAY = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE, counts=False)
THROTTLED = Verdict(outcome=Outcome.THROTTLED, fault=Fault.SERVICE, counts=False)
MISSING = Verdict(outcome=Outcome.ORIGIN_MISSING, fault=Fault.KEY)
ORIGIN = Verdict(outcome=Outcome.ORIGIN_FAILING, fault=Fault.ORIGIN)
TIMED_OUT = Verdict(outcome=Outcome.TIMED_OUT, fault=Fault.KEY)

JSON, EMPTY, FOREIGN = Content.JSON, Content.EMPTY, Content.FOREIGN
PREFETCH, ASYNC, DELETE = Operation.PREFETCH, Operation.ASYNC_FETCH, Operation.DELETE

EXPECTED = [
    pytest.param(100, AWAY, id="100-no-answer-yet"),
    pytest.param(204, TRANSIENT, id="204-a-success-kodo-does-not-know"),
    pytest.param(298, TRANSIENT, id="298-belongs-to-batches"),
    pytest.param(301, AWAY, id="301-hijacked"),
    pytest.param(302, AWAY, id="302-hijacked"),
    pytest.param(307, AWAY, id="307-hijacked"),
    pytest.param(308, AWAY, id="308-hijacked"),
    pytest.param(400, REFUSED, id="400-malformed"),
    pytest.param(401, ACCOUNT, id="401-keys-wrong"),
    pytest.param(402, ORIGIN, id="402-origin"),
    pytest.param(403, ACCOUNT, id="403-no-permission"),
    pytest.param(404, MISSING, id="404-origin-has-it-not"),
    pytest.param(405, REFUSED, id="405-wrong-method"),
    pytest.param(406, ORIGIN, id="406-never-kodos-to-a-pull"),
    pytest.param(407, ORIGIN, id="407-origin"),
    pytest.param(408, ORIGIN, id="408-origin-did-not-wait"),
    pytest.param(409, ORIGIN, id="409-origin"),
    pytest.param(410, MISSING, id="410-gone-at-the-origin"),
    pytest.param(411, ORIGIN, id="411-another-4xx-the-origins-own"),
    pytest.param(413, REFUSED, id="413-too-large"),
    pytest.param(414, ORIGIN, id="414-origin"),
    pytest.param(416, ORIGIN, id="416-origin"),
    pytest.param(418, ORIGIN, id="418-origin"),
    pytest.param(419, ACCOUNT, id="419-frozen"),
    pytest.param(425, ORIGIN, id="425-origin-too-early"),
    pytest.param(426, ORIGIN, id="426-origin"),
    pytest.param(429, THROTTLED, id="429-rate"),
    pytest.param(431, ORIGIN, id="431-origin"),
    pytest.param(451, ORIGIN, id="451-origin"),
    pytest.param(478, ORIGIN, id="478-origin-trouble"),
    pytest.param(499, ORIGIN, id="499-hung-up-before-the-origin"),
    pytest.param(500, TRANSIENT, id="500-server"),
    pytest.param(501, REFUSED, id="501-permanent"),
    pytest.param(502, TRANSIENT, id="502-gateway"),
    pytest.param(503, TRANSIENT, id="503-unavailable"),
    pytest.param(504, TIMED_OUT, id="504-server-side-timeout"),
    pytest.param(509, THROTTLED, id="509-bandwidth"),
    pytest.param(511, AWAY, id="511-log-in-first"),
    pytest.param(526, TRANSIENT, id="526-another-5xx"),
    pytest.param(571, THROTTLED, id="571-rate"),
    pytest.param(573, THROTTLED, id="573-one-resource-too-often"),
    pytest.param(579, REFUSED, id="579-callback"),
    pytest.param(599, TRANSIENT, id="599-operation-failed"),
    pytest.param(608, REFUSED, id="608-modified"),
    pytest.param(612, REFUSED, id="612-missing"),
    pytest.param(614, REFUSED, id="614-exists"),
    pytest.param(616, REFUSED, id="616-undocumented"),
    pytest.param(618, REFUSED, id="618-undocumented"),
    pytest.param(630, REFUSED, id="630-too-many-buckets"),
    pytest.param(631, ACCOUNT, id="631-no-such-bucket"),
    pytest.param(632, REFUSED, id="632-undocumented"),
    pytest.param(640, REFUSED, id="640-list-marker"),
    pytest.param(699, REFUSED, id="699-another-6xx"),
    pytest.param(701, REFUSED, id="701-upload-context"),
    pytest.param(999, REFUSED, id="999-beyond"),
]

# kodo.md, 4.5: the table's first column, but for 3xx, "other" and "no answer", which are no single numbers
DOCUMENTED = [
    *(200, 298, 400, 401, 403, 404, 405, 406, 413, 419, 429, 478, 499, 500, 501, 502, 503, 504, 509, 571, 573),
    *(579, 599, 608, 612, 614, 616, 618, 630, 631, 632, 640, 701),
]


def answer(status: int, error: str | None = "it failed", content: Content = JSON) -> Reply:
    """What Kodo itself would say."""
    return Reply(status=status, reqid="r", xlog="IO:4", error=error, content=content)


replies = st.builds(
    Reply,
    status=st.none() | st.integers(min_value=-1, max_value=1000) | st.sampled_from(sorted(STATUSES)),
    silence=st.none() | st.sampled_from(Silence),
    reqid=st.none() | st.just("r"),
    xlog=st.none() | st.sampled_from(["IO:4", "QINIUPROXY:3/403;IO:4/403"]),
    error=st.none() | st.sampled_from(["", "no such bucket", "httpGet url failed: E403", "request time too skewed"]),
    content=st.sampled_from(Content),
    task=st.none() | st.just("t"),
    skew_s=st.none() | st.floats(min_value=-1e9, max_value=1e9),
    retry_after_s=st.none() | st.just(2.0),
)


# -- the table -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", sorted(PULLS))
@pytest.mark.parametrize(("status", "verdict"), EXPECTED)
def test_a_status_means(operation: Operation, status: int, verdict: Verdict) -> None:
    assert judge(operation, answer(status)) == verdict


def test_every_row_has_a_case_above() -> None:
    cases = {param.values[0] for param in EXPECTED}

    assert set(STATUSES) - cases == {200}


def test_every_documented_status_has_a_row() -> None:
    assert set(DOCUMENTED) <= set(STATUSES)
    assert set(CLASSES) == {1, 2, 3, 4, 5, 6}
    assert set(SILENCES) == {*Silence, None}


def test_statuses_are_integers_and_no_enum() -> None:
    assert {type(status) for status in STATUSES} == {int}


@pytest.mark.parametrize("meaning", [*STATUSES.values(), *CLASSES.values(), *SILENCES.values()], ids=lambda m: m.says)
def test_what_a_row_says_is_a_sentence_within_a_line(meaning: object) -> None:
    says = getattr(meaning, "says", "")

    assert re.fullmatch(r"[^\n]{4,100}[^\n.]", says)


def test_a_status_from_nowhere_has_a_meaning_too() -> None:
    assert meaning_of(-1) is CLASSES[1]
    assert meaning_of(6000) is CLASSES[6]


@given(st.sampled_from(Operation), replies)
def test_whatever_the_reply_there_is_a_verdict_and_words_for_a_failure(operation: Operation, reply: Reply) -> None:
    verdict = judge(operation, reply)

    assert isinstance(verdict, Verdict)
    assert (wording(operation, reply, verdict) is None) is (verdict.fault is None)
    assert (verdict.outcome in (Outcome.REFRESHED, Outcome.REMOVED)) is (verdict.fault is None)


@given(st.sampled_from(Operation), replies)
def test_only_200_or_a_deletes_612_from_kodo_is_ever_a_success(operation: Operation, reply: Reply) -> None:
    verdict = judge(operation, reply)

    if verdict.fault is None:
        assert reply.status == 200 or (operation is DELETE and reply.status == 612)
        assert reply.reqid is not None
        assert reply.content is not FOREIGN


@given(st.sampled_from(Operation), replies)
def test_nobody_but_kodo_can_blame_a_key_an_origin_or_the_account(operation: Operation, reply: Reply) -> None:
    verdict = judge(operation, replace(reply, reqid=None, xlog=None))

    assert verdict.fault is Fault.SERVICE or verdict.outcome is Outcome.TIMED_OUT


@given(st.sampled_from(sorted(set(Operation) - PULLS)), replies)
def test_where_no_origin_is_asked_none_can_be_at_fault(operation: Operation, reply: Reply) -> None:
    verdict = judge(operation, reply)

    assert verdict.fault is not Fault.ORIGIN
    assert verdict.outcome is not Outcome.ORIGIN_MISSING


# -- successes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [EMPTY, JSON])
@pytest.mark.parametrize(
    ("operation", "status", "verdict"),
    [
        pytest.param(PREFETCH, 200, REFRESHED, id="prefetch"),
        pytest.param(Operation.FETCH, 200, REFRESHED, id="fetch"),
        pytest.param(Operation.GLB_FETCH, 200, REFRESHED, id="glb-fetch"),
        pytest.param(DELETE, 200, REMOVED, id="delete"),
        pytest.param(DELETE, 612, REMOVED, id="gone-already"),
    ],
)
def test_a_success(operation: Operation, status: int, verdict: Verdict, content: Content) -> None:
    reply = answer(status, None if status == 200 else "no such file or directory", content)

    assert judge(operation, reply) == verdict
    assert wording(operation, reply, verdict) is None
    assert advice(operation, reply, verdict) is None


@pytest.mark.parametrize(
    ("reqid", "xlog", "content", "verdict"),
    [
        pytest.param("r", "IO", EMPTY, REFRESHED, id="both"),
        pytest.param("r", None, EMPTY, REFRESHED, id="reqid"),
        pytest.param(None, "IO", EMPTY, AWAY, id="xlog-alone"),
        pytest.param(None, None, EMPTY, AWAY, id="neither"),
        pytest.param("r", "IO", FOREIGN, AWAY, id="a-page"),
        pytest.param(None, None, FOREIGN, AWAY, id="a-portals-page"),
    ],
)
@pytest.mark.parametrize("operation", [PREFETCH, Operation.FETCH, Operation.GLB_FETCH])
def test_200_is_a_refresh_only_with_reqid_and_without_a_page(
    operation: Operation, reqid: str | None, xlog: str | None, content: Content, verdict: Verdict
) -> None:
    assert judge(operation, Reply(status=200, reqid=reqid, xlog=xlog, content=content)) == verdict


@pytest.mark.parametrize("status", [200, 612])
@pytest.mark.parametrize(("reqid", "content"), [(None, EMPTY), (None, FOREIGN), ("r", FOREIGN)])
def test_a_removal_is_not_believed_either_without_them(status: int, reqid: str | None, content: Content) -> None:
    assert judge(DELETE, Reply(status=status, reqid=reqid, xlog="RS", content=content)) == AWAY


@pytest.mark.parametrize(("task", "verdict"), [("t", REFRESHED), (None, TRANSIENT), ("", TRANSIENT)])
def test_an_asynchronous_fetch_is_accepted_when_it_has_a_task(task: str | None, verdict: Verdict) -> None:
    assert judge(ASYNC, replace(answer(200, None), task=task)) == verdict


# -- credentials, account, bucket ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(
    ("error", "content", "xlog", "verdict"),
    [
        pytest.param("bad token", JSON, "IO:4", ACCOUNT, id="ours"),
        pytest.param("bad token", JSON, None, ACCOUNT, id="ours-without-a-trace"),
        pytest.param("the 403 is final", JSON, "IO:4", ACCOUNT, id="a-number-is-no-proof-of-fetching"),
        pytest.param("bad token", JSON, "QINIUPROXY:3/200;IO:4/403", ACCOUNT, id="the-origin-said-200"),
        pytest.param("httpGet url failed: E403", JSON, "IO:4", ORIGIN, id="httpGet"),
        pytest.param("get image from source failed :E 403", JSON, "IO:4", ORIGIN, id="from-source"),
        pytest.param("failed with E401", JSON, "IO:4", ORIGIN, id="an-origins-number"),
        pytest.param("forbidden", JSON, "QINIUPROXY:3/403;gS.h:4;IO:4/403", ORIGIN, id="by-its-trace"),
        pytest.param("forbidden", JSON, "IO.in; QINIUPROXY:3/401;IO:4/401", ORIGIN, id="by-a-later-hop"),
        pytest.param("the reply is text/html of 9 bytes", FOREIGN, "IO:4", ORIGIN, id="a-page"),
        pytest.param("no error text in the reply", EMPTY, "IO:4", ORIGIN, id="nothing"),
        pytest.param(None, JSON, "IO:4", ORIGIN, id="json-without-a-text"),
        pytest.param("", JSON, "IO:4", ORIGIN, id="json-with-an-empty-text"),
    ],
)
@pytest.mark.parametrize("operation", sorted(PULLS))
def test_an_origins_refusal_of_kodo_is_not_kodos_of_us(
    operation: Operation, status: int, error: str | None, content: Content, xlog: str | None, verdict: Verdict
) -> None:
    assert judge(operation, replace(answer(status, error, content), xlog=xlog)) == verdict


@pytest.mark.parametrize(
    ("body", "verdict", "said"),
    [
        pytest.param(b'{"error":"bad token"}', ACCOUNT, "bad token", id="kodos-words"),
        pytest.param(b"{}", ORIGIN, "the origin refuses it to Kodo", id="no-words"),
        pytest.param(b"", ORIGIN, "the origin refuses it to Kodo", id="nothing"),
        pytest.param(b"<html>", ORIGIN, "the origin refuses it to Kodo", id="no-json"),
    ],
)
def test_a_refusal_as_it_is_read_from_the_wire(body: bytes, verdict: Verdict, said: str) -> None:
    reply = read_reply(401, {"x-reqid": "r", "content-type": "application/json"}, body, 0.1)

    assert judge(PREFETCH, reply) == verdict
    assert (wording(PREFETCH, reply, verdict) or "").startswith(said)


def test_an_error_without_words_gets_the_tables() -> None:
    reply = read_reply(478, {"x-reqid": "r", "content-type": "application/json"}, b"{}", 0.1)

    assert (wording(PREFETCH, reply, ORIGIN) or "").startswith("the origin answered neither 200 nor 404: ")


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("content", list(Content))
def test_a_delete_asks_no_origin_so_that_every_refusal_is_of_us(status: int, content: Content) -> None:
    assert judge(DELETE, answer(status, "httpGet url failed: E403", content)) == ACCOUNT


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        pytest.param(200, AWAY, id="200"),
        pytest.param(302, AWAY, id="302"),
        pytest.param(400, TRANSIENT, id="400"),
        pytest.param(401, AWAY, id="401"),
        pytest.param(403, AWAY, id="403"),
        pytest.param(404, TRANSIENT, id="404"),
        pytest.param(407, AWAY, id="407"),
        pytest.param(414, TRANSIENT, id="414"),
        pytest.param(429, THROTTLED, id="429"),
        pytest.param(451, AWAY, id="451"),
        pytest.param(501, TRANSIENT, id="501"),
        pytest.param(502, TRANSIENT, id="502"),
        pytest.param(503, TRANSIENT, id="503"),
        pytest.param(504, TIMED_OUT, id="504"),
        pytest.param(511, AWAY, id="511"),
    ],
)
def test_an_answer_without_kodos_marks_came_from_somebody_in_between(
    operation: Operation, status: int, verdict: Verdict
) -> None:
    assert judge(operation, Reply(status=status, content=FOREIGN)) == verdict


@pytest.mark.parametrize(
    ("operation", "status", "said"),
    [
        pytest.param(PREFETCH, 200, "the answer did not come from Kodo", id="200"),
        pytest.param(PREFETCH, 403, "the answer did not come from Kodo: the reply is text/html", id="403"),
        pytest.param(DELETE, 404, "the answer did not come from Kodo: the reply is text/html", id="404"),
    ],
)
def test_who_did_not_answer_is_said(operation: Operation, status: int, said: str) -> None:
    reply = Reply(status=status, error=None if status == 200 else "the reply is text/html", content=FOREIGN)

    assert wording(operation, reply, judge(operation, reply)) == said


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize("error", ["no such bucket", "Bucket not found"])
def test_612_of_the_bucket_is_about_every_key(operation: Operation, error: str) -> None:
    reply = answer(612, error)

    assert judge(operation, reply) == ACCOUNT
    assert advice(operation, reply, ACCOUNT) == ADVICE[631]


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    ("error", "content", "skew_s", "said"),
    [
        pytest.param("request time too skewed", JSON, -1200.0, "this machine's clock is 20 min ahead of", id="ahead"),
        pytest.param("request time too skewed", JSON, 1200.0, "this machine's clock is 20 min behind", id="behind"),
        pytest.param("Request Time Too Skewed", JSON, 3 * 3600.0, "this machine's clock is 3 h behind", id="hours"),
        pytest.param("request time too skewed", JSON, -9 * 86400.0, "is 9 days ahead of Kodo's", id="days"),
        pytest.param("request time too skewed", JSON, None, "clock more than 15 min off", id="unmeasured"),
        pytest.param("request time too skewed", JSON, 3.0, "clock more than 15 min off", id="set-meanwhile"),
        pytest.param("permission denied", JSON, -841.0, "this machine's clock is 14 min ahead of", id="by-the-clock"),
        pytest.param("no error text in the reply", EMPTY, 901.0, "clock is 15 min behind", id="without-a-text"),
    ],
)
def test_a_wrong_clock_is_told_from_wrong_keys(
    operation: Operation, error: str, content: Content, skew_s: float | None, said: str
) -> None:
    reply = replace(answer(403, error, content), skew_s=skew_s)

    verdict = judge(operation, reply)

    assert verdict == ACCOUNT
    assert said in (wording(operation, reply, verdict) or "")
    assert error in (wording(operation, reply, verdict) or "")
    assert advice(operation, reply, verdict) == CLOCK_ADVICE


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        pytest.param(replace(answer(403), skew_s=840.0), ACCOUNT, id="within-what-kodo-allows"),
        pytest.param(replace(answer(401), skew_s=9999.0), ACCOUNT, id="401-is-of-the-keys"),
        pytest.param(replace(answer(403, "httpGet url failed: E403"), skew_s=9999.0), ORIGIN, id="the-origin-said-so"),
        pytest.param(replace(answer(403, content=FOREIGN), skew_s=9999.0), ORIGIN, id="with-a-page"),
        pytest.param(Reply(status=403, skew_s=9999.0), AWAY, id="by-somebody-in-between"),
    ],
)
def test_a_clock_is_not_blamed_for_other_refusals(reply: Reply, verdict: Verdict) -> None:
    assert judge(PREFETCH, reply) == verdict
    assert "clock" not in (wording(PREFETCH, reply, verdict) or "")
    assert advice(PREFETCH, reply, verdict) != CLOCK_ADVICE


# -- what else the status alone does not tell --------------------------------------------------------------


@pytest.mark.parametrize("operation", list(Operation))
def test_503_with_a_time_to_wait_is_throttling(operation: Operation) -> None:
    assert judge(operation, replace(answer(503), retry_after_s=3.0)) == THROTTLED


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        pytest.param(404, REFUSED, id="404"),
        pytest.param(410, REFUSED, id="410"),
        pytest.param(418, TRANSIENT, id="418"),
        pytest.param(478, TRANSIENT, id="478"),
        pytest.param(499, TRANSIENT, id="499"),
    ],
)
def test_a_delete_knows_no_origin(status: int, verdict: Verdict) -> None:
    assert judge(DELETE, answer(status)) == verdict


def test_a_conditional_delete_that_meets_a_strangers_object_says_so() -> None:
    reply = answer(608, "file modified")

    verdict = judge(DELETE, reply)

    assert verdict == REFUSED
    assert wording(DELETE, reply, verdict) == f"{NOT_OURS}: file modified"


@pytest.mark.parametrize("operation", list(Operation))
@pytest.mark.parametrize(
    ("silence", "verdict"),
    [
        pytest.param(Silence.CONNECT_FAILED, AWAY, id="never-asked"),
        pytest.param(Silence.BROKEN, AWAY, id="broken"),
        pytest.param(Silence.TIMED_OUT, TIMED_OUT, id="timed-out"),
        pytest.param(None, AWAY, id="unexplained"),
    ],
)
def test_no_answer_means(operation: Operation, silence: Silence | None, verdict: Verdict) -> None:
    reply = Reply(status=None, silence=silence, error="what the network said")

    assert judge(operation, reply) == verdict
    assert wording(operation, reply, verdict) == "what the network said"


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        pytest.param(answer(478, "httpGet url failed: E502"), "httpGet url failed: E502", id="kodos-words"),
        pytest.param(answer(478, None), "the origin answered neither 200 nor 404", id="the-tables"),
        pytest.param(answer(404, "nothing", EMPTY), "the origin has no such resource: nothing", id="both-when-empty"),
        pytest.param(answer(502, "a page", FOREIGN), "a gateway of Kodo's got no answer: a page", id="both-for-a-page"),
        pytest.param(answer(302, None, EMPTY), CLASSES[3].says, id="a-redirect"),
        pytest.param(answer(302, "see there"), f"{CLASSES[3].says}: see there", id="a-redirect-with-json"),
        pytest.param(answer(403, "httpGet url failed: E403"), "the origin refuses it to Kodo: httpGet url", id="whose"),
    ],
)
def test_the_words_are_of_who_knows_best(reply: Reply, said: str) -> None:
    assert (wording(PREFETCH, reply, judge(PREFETCH, reply)) or "").startswith(said)


# -- what a person is told -------------------------------------------------------------------------------


def test_whatever_stops_the_account_comes_with_advice() -> None:
    stopping = {status for status, verdict in FAILURES.items() if verdict.fault is Fault.ACCOUNT}

    assert stopping == set(ADVICE) == {401, 403, 419, 631}


@given(st.sampled_from(Operation), replies)
def test_advice_is_given_for_what_does_not_heal_itself(operation: Operation, reply: Reply) -> None:
    verdict = judge(operation, reply)

    assert (advice(operation, reply, verdict) is None) is (verdict.fault in {None, Fault.SERVICE})


@pytest.mark.parametrize(
    ("reply", "about"),
    [
        pytest.param(answer(404), "mirror source", id="404"),
        pytest.param(answer(413), "asynchronously", id="413"),
        pytest.param(answer(418), "the origin", id="an-origins-own"),
        pytest.param(answer(403, "httpGet url failed: E403"), "the origin", id="an-origins-refusal"),
        pytest.param(Reply(status=None, silence=Silence.TIMED_OUT), "asynchronously", id="timed-out"),
        pytest.param(answer(699), "support", id="nobody-knows"),
    ],
)
def test_advice_for_a_key_that_is_given_up(reply: Reply, about: str) -> None:
    assert about in (advice(PREFETCH, reply, judge(PREFETCH, reply)) or "")


def test_a_failure_that_the_key_has_no_part_in_does_not_strike_it() -> None:
    spared = {status for status, verdict in FAILURES.items() if not verdict.counts}

    assert spared == {401, 403, 419, 429, 509, 511, 571, 573, 631}
