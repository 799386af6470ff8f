"""Every answer that Kodo, the origin behind it or somebody in between can give, and what it means for the key.

Data only: `verdict.py` knows the few cases where the status alone does not say it. Integers throughout:
`http.HTTPStatus` knows none of 298, 478, 573, 599, 6xx.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from mirrord.model.attempt import Fault, Outcome, Silence, Verdict

Source = Literal["seed", "codes", "sdk", "errors", "judgement"]
"""Who says so: "seed" Qiniu's prefetch and fetch documents; "codes" its table of status codes (codes.md);
"sdk" what its Go, Python and Rust SDKs and its bulk tools do; "errors" its error page (2024-12-10);
"judgement" nobody: then it is ours.
"""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an answer means, for the program and for a person."""

    verdict: Verdict
    says: str
    source: Source


REFRESHED = Verdict(outcome=Outcome.REFRESHED)
REMOVED = Verdict(outcome=Outcome.REMOVED)
REFUSED = Verdict(outcome=Outcome.REFUSED, fault=Fault.KEY)
MISSING = Verdict(outcome=Outcome.ORIGIN_MISSING, fault=Fault.KEY)
TIMED_OUT = Verdict(outcome=Outcome.TIMED_OUT, fault=Fault.KEY)
CUT = Verdict(outcome=Outcome.TIMED_OUT, fault=Fault.KEY, counts=False)
ORIGIN = Verdict(outcome=Outcome.ORIGIN_FAILING, fault=Fault.ORIGIN)
ACCOUNT = Verdict(outcome=Outcome.REFUSED, fault=Fault.ACCOUNT, counts=False)
SERVICE = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE)
AWAY = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE, counts=False)
"""Like SERVICE, where the key cannot have had a part in it."""
THROTTLED = Verdict(outcome=Outcome.THROTTLED, fault=Fault.SERVICE, counts=False)

STATUSES: Mapping[int, Meaning] = MappingProxyType(
    {
        200: Meaning(REFRESHED, "Kodo has done it", "seed"),
        298: Meaning(SERVICE, "some operations of a batch failed, where none was asked for", "codes"),
        400: Meaning(REFUSED, "the request is malformed: a bad entry, or a key that is not UTF-8", "seed"),
        401: Meaning(ACCOUNT, "the credentials are invalid", "seed"),
        402: Meaning(ORIGIN, "the origin wants to be paid", "seed"),
        403: Meaning(ACCOUNT, "no permission, or a clock that is more than 15 min off", "errors"),
        404: Meaning(MISSING, "the origin has no such resource", "seed"),
        405: Meaning(REFUSED, "wrong method", "codes"),
        406: Meaning(ORIGIN, "the origin has it in no form that Kodo accepts", "seed"),  # Kodo's: an upload's CRC
        407: Meaning(ORIGIN, "a proxy before the origin wants a password", "seed"),
        408: Meaning(ORIGIN, "the origin did not wait for Kodo's request", "seed"),
        409: Meaning(ORIGIN, "the origin is in conflict with itself", "seed"),
        410: Meaning(MISSING, "the origin says that it is gone for good", "seed"),
        413: Meaning(REFUSED, "too large", "errors"),
        414: Meaning(ORIGIN, "the origin takes no address of that length", "seed"),
        416: Meaning(ORIGIN, "the origin has no such range", "seed"),
        418: Meaning(ORIGIN, "the origin takes Kodo for a robot", "seed"),
        419: Meaning(ACCOUNT, "the account is frozen", "codes"),
        425: Meaning(ORIGIN, "it is too early for the origin", "seed"),
        426: Meaning(ORIGIN, "the origin wants another protocol", "seed"),
        429: Meaning(THROTTLED, "too many requests", "sdk"),
        431: Meaning(ORIGIN, "the origin takes no headers of that size", "seed"),
        451: Meaning(ORIGIN, "the origin may not give it out", "seed"),
        478: Meaning(ORIGIN, "the origin answered neither 200 nor 404", "seed"),
        499: Meaning(ORIGIN, "a proxy before the origin says that Kodo hung up", "seed"),
        500: Meaning(SERVICE, "something failed within Kodo", "sdk"),
        501: Meaning(REFUSED, "not implemented", "sdk"),
        502: Meaning(SERVICE, "a gateway of Kodo's got no answer", "sdk"),
        503: Meaning(SERVICE, "the service is unavailable", "codes"),
        504: Meaning(TIMED_OUT, "Kodo did not finish in time, as with big files; it may still be pulling", "codes"),
        509: Meaning(THROTTLED, "over the bandwidth allowed", "sdk"),
        511: Meaning(AWAY, "the network here wants a login first", "judgement"),
        571: Meaning(THROTTLED, "over the rate allowed", "sdk"),
        573: Meaning(THROTTLED, "one resource was asked for too often", "errors"),
        579: Meaning(REFUSED, "a callback failed, and a pull has none", "codes"),
        599: Meaning(SERVICE, "the operation failed within Kodo: its support wants the error with all headers", "seed"),
        608: Meaning(REFUSED, "the object has been modified", "codes"),
        612: Meaning(REFUSED, "no such object, or not any more", "codes"),
        614: Meaning(REFUSED, "an object of that name exists", "codes"),
        616: Meaning(REFUSED, "a code that Qiniu's SDKs give up at and nobody explains", "sdk"),
        618: Meaning(REFUSED, "a code that Qiniu's SDKs give up at and nobody explains", "sdk"),
        630: Meaning(REFUSED, "too many buckets", "codes"),
        631: Meaning(ACCOUNT, "no such bucket", "codes"),
        632: Meaning(REFUSED, "a code that Qiniu's SDKs give up at and nobody explains", "sdk"),
        640: Meaning(REFUSED, "a listing's marker is invalid", "codes"),
        701: Meaning(REFUSED, "a resumable upload's context is invalid", "codes"),
    }
)

CLASSES: Mapping[int, Meaning] = MappingProxyType(
    {
        1: Meaning(AWAY, "an answer that is none yet: something in between gave it", "judgement"),
        2: Meaning(SERVICE, "a success that Kodo does not know", "judgement"),
        3: Meaning(AWAY, "a redirect, which Kodo gives nobody: it is not followed", "judgement"),
        4: Meaning(ORIGIN, "a code that Kodo has not: the origin's own", "seed"),
        5: Meaning(SERVICE, "something failed within Kodo, or on the way there", "sdk"),
        6: Meaning(REFUSED, "a code of Kodo's that nobody explains", "judgement"),
    }
)
"""What has no row of its own, by its hundreds; 6 is everything from 600."""

SILENCES: Mapping[Silence | None, Meaning] = MappingProxyType(
    {
        Silence.CONNECT_FAILED: Meaning(AWAY, "no connection: nothing was asked", "sdk"),
        Silence.TIMED_OUT: Meaning(TIMED_OUT, "no answer in time; Kodo may still be pulling", "sdk"),
        Silence.CUT: Meaning(CUT, "the service stopped and did not wait; Kodo may still be pulling", "judgement"),
        Silence.BROKEN: Meaning(AWAY, "the connection broke: whether Kodo has done it is unknown", "sdk"),
        None: Meaning(AWAY, "no answer", "judgement"),
    }
)

ADVICE: Mapping[int, str] = MappingProxyType(
    {
        401: "check access_key and the secret key: Kodo does not know this pair",
        403: "check that the key pair may change this bucket, and that this machine's clock is right",
        419: "Qiniu has frozen the account: settle that with Qiniu",
        631: "check the bucket's name and the account: Kodo has no such bucket",
    }
)
"""What a person has to do before anything of the mirror can go on: exactly the statuses of fault ACCOUNT."""

CLOCK_ADVICE = "set this machine's clock and keep it right with NTP: Kodo allows 15 minutes"

SUPPORT_ADVICE = "ask Qiniu's support, with the reqid"

KEY_ADVICE: Mapping[int, str] = MappingProxyType(
    {
        400: "check the key: Kodo takes UTF-8 only; a file whose name is not has to be renamed",
        404: "check that the origin's web server gives out this key, as the bucket's mirror source asks for it",
        410: "check that the origin's web server gives out this key, as the bucket's mirror source asks for it",
        413: "the file is too large for one pull: let Kodo fetch it asynchronously, or upload it",
        414: "shorten the key: the origin's web server takes no address of that length",
        478: "check what the origin, and whatever is in front of it, answers to Kodo's spider",
        504: "the file is too large, or the origin too slow, for one pull: let Kodo fetch it asynchronously",
        608: "somebody else put the object there: remove it by hand if it is to go",
    }
)
"""What a person can do for one key, once that is given up; where it has no row, `SUPPORT_ADVICE` or the origin."""


def meaning_of(status: int) -> Meaning:
    """What a status means by itself."""
    return STATUSES.get(status) or CLASSES[min(max(status // 100, 1), 6)]
