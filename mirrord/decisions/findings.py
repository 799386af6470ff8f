"""What Kodo and an origin said when asked a few questions, to findings: what is wrong, and what a person can do."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import urlsplit

from mirrord.decisions.statuses import CLOCK_ADVICE
from mirrord.decisions.verdict import ADVICE, FAILURES, NOT_KODO, SKEW_MOST, is_clock_wrong
from mirrord.model.attempt import Fault, Operation, Reply

SKEW_DOUBTED_S = 60.0
"""A clock that NTP keeps is not off by this much."""
_KNOWN = "Kodo knows the key pair"
_NO_BUCKET = {612, 631}
_REFUSED = {401, 403, 419}
_CONSOLE = "in Qiniu's console"
_BETWEEN = "see what is between this machine and Kodo, and at [kodo.hosts]"
_LATER = "ask again later"
_PORTS = {"http": 80, "https": 443}


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Subject(StrEnum):
    """What a finding is about, in the order in which findings are shown."""

    REGION = "region"
    CREDENTIALS = "credentials"
    BUCKET = "bucket"
    CLOCK = "clock"
    SOURCE = "mirror source"
    STAT = "stat"
    FEED = "feed"
    SNAPSHOT = "snapshot"
    ORIGIN = "origin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at. What nobody could tell has no finding."""

    mirror: str
    subject: Subject
    level: Level
    says: str
    advice: str = ""
    """What a person can do; "" where there is nothing to do."""
    reqid: str | None = None
    """Of the answer of Kodo's that tells it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the settings say of one mirror, as far as Kodo and the origin can contradict it."""

    mirror: str
    bucket: str
    operation: Operation
    origin_url: str | None
    verify: bool
    """Whether successes are confirmed by stat."""

    def find(
        self, subject: Subject, level: Level, says: str, advice: str = "", *, told_by: Reply | None = None
    ) -> Finding:
        reqid = None if told_by is None else told_by.reqid
        return Finding(mirror=self.mirror, subject=subject, level=level, says=says, advice=advice, reqid=reqid)


class BucketInfo(Protocol):
    """What Kodo says of a bucket's settings."""

    @property
    def source(self) -> Sequence[str]:
        """The mirror source's URLs; empty: the bucket has none."""

    @property
    def host(self) -> str:
        """The Host header that Kodo sends to the source; "" for the URL's own."""

    @property
    def region(self) -> str: ...

    @property
    def private(self) -> bool: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One file of the origin, by the key that it is mirrored under."""

    key: str
    size_bytes: int | None
    """None: it changes too often to say, or nobody said."""
    on_disk: bool = True
    """Whether it was seen there; else a feed names it, and may have more to say of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What an origin answered when asked for one file; `status` is None when it did not."""

    status: int | None
    size_bytes: int | None = None
    location: str = ""
    error: str = ""


def answer_of(reply: Reply) -> int | None:
    """The status of an answer that came from Kodo: it marks every one."""
    return None if reply.reqid is None and reply.xlog is None else reply.status


def is_worth_asking(info: Reply) -> bool:
    """Whether more can be learnt of Kodo after this answer to bucketInfo.

    A 403 may be meant for bucketInfo alone, which is not what a mirror needs; the others are for everything.
    """
    return answer_of(info) not in _NO_BUCKET | (_REFUSED - {403})


def about_region(wanted: Wanted, region: str | Reply) -> Finding | None:
    """None when the reason is a refusal, which is a finding of its own."""
    if isinstance(region, str):
        return wanted.find(Subject.REGION, Level.OK, region or "found, without a name")
    if not is_worth_asking(region):
        return None
    advice = "see why uc cannot be asked, or pin uc, io, rs and rsf in [kodo.hosts]"
    return wanted.find(Subject.REGION, Level.ERROR, f"not known: {_why(region)}", advice, told_by=region)


def about_credentials(wanted: Wanted, info: Reply, stat: Reply | None, *, signed: bool) -> Finding | None:
    """By the answer to bucketInfo, else by that to stat.

    Not `signed`, `info` is the answer to the one question that proves no key pair, but may refuse it; None when
    that says that there is no such bucket.
    """
    told, stat_told = answer_of(info), stat and answer_of(stat)
    if told == 200 or told in _NO_BUCKET:
        return wanted.find(Subject.CREDENTIALS, Level.OK, _KNOWN, told_by=info) if signed else None
    if stat_told in {200, *_NO_BUCKET}:
        if told != 403 or _is_about_clock(info):
            return wanted.find(Subject.CREDENTIALS, Level.OK, _KNOWN, told_by=stat)
        says = f"the key pair is good, but may not read the bucket's settings ({_why(info)})"
        advice = f"see {_CONSOLE} that the mirror source is right"
        return wanted.find(Subject.CREDENTIALS, Level.WARNING, says, advice, told_by=info)
    refusal = stat if stat is not None and stat_told in _REFUSED else info
    status = answer_of(refusal)
    if status not in _REFUSED or _is_about_clock(refusal):
        says = f"not known: {_why(refusal)}"
        return wanted.find(Subject.CREDENTIALS, Level.WARNING, says, _advice(refusal), told_by=refusal)
    says = f"refused: {_why(refusal)}"
    return wanted.find(Subject.CREDENTIALS, Level.ERROR, says, ADVICE[status], told_by=refusal)


def about_bucket(wanted: Wanted, info: Reply, known: BucketInfo | None, stat: Reply | None) -> Finding | None:
    """None when neither the answer to bucketInfo nor that to stat tells."""
    if known is not None:
        region = f", in region {known.region}" if known.region else ""
        return wanted.find(Subject.BUCKET, Level.OK, f"{wanted.bucket} is there{region}", told_by=info)
    stat_told = stat and answer_of(stat)
    if answer_of(info) in _NO_BUCKET or stat_told == 631:
        says = f"no such bucket: {wanted.bucket}"
        told_by = stat if stat_told == 631 else info
        return wanted.find(Subject.BUCKET, Level.ERROR, says, ADVICE[631], told_by=told_by)
    if stat_told in {200, 612}:
        return wanted.find(Subject.BUCKET, Level.OK, f"{wanted.bucket} is there", told_by=stat)
    return None


def about_clock(wanted: Wanted, info: Reply, stat: Reply | None) -> Finding | None:
    """None when nobody told the time.

    Wrong is a clock for which Kodo refuses what the mirror needs: stat is signed as its calls are, while bucketInfo
    is always signed with the date. Whether Kodo minds it in what is signed without, as by QBox, nobody says.
    """
    told_by = next((each for each in (info, stat) if each is not None and each.skew_s is not None), None)
    judge = info if stat is None or answer_of(stat) is None else stat
    refused = _is_about_clock(judge)
    if told_by is None or told_by.skew_s is None:
        says = "Kodo finds this machine's clock more than 15 min off"
        return wanted.find(Subject.CLOCK, Level.ERROR, says, CLOCK_ADVICE, told_by=judge) if refused else None
    off_s = abs(told_by.skew_s)
    if off_s <= SKEW_DOUBTED_S and not refused:
        return wanted.find(Subject.CLOCK, Level.OK, f"within {max(1, round(off_s))} s of Kodo's", told_by=told_by)
    says = f"this machine's clock is {_span(off_s)} {'behind' if told_by.skew_s > 0 else 'ahead of'} Kodo's"
    if refused:
        return wanted.find(Subject.CLOCK, Level.ERROR, f"{says}: it refuses all calls", CLOCK_ADVICE, told_by=judge)
    far = off_s > SKEW_MOST.total_seconds()
    says += ": the mirror's calls are not refused for it, but any that sign the date are" if far else ""
    says += "" if far else ": calls that sign the date are refused from 15 min on"
    return wanted.find(Subject.CLOCK, Level.WARNING, says, CLOCK_ADVICE, told_by=told_by)


def about_source(wanted: Wanted, info: Reply, known: BucketInfo | None) -> Finding:
    if wanted.operation is not Operation.PREFETCH:
        says = f'does not matter: operation = "{wanted.operation.value}" names the URL itself'
        return wanted.find(Subject.SOURCE, Level.OK, says)
    if known is None:
        says = f"could not be asked: {_why(info)}"
        mended_first = answer_of(info) is None or _is_about_clock(info) or _is_services(info)
        advice = f"see {_CONSOLE} that bucket {wanted.bucket} has the right mirror source"
        return wanted.find(Subject.SOURCE, Level.WARNING, says, _advice(info) if mended_first else advice, told_by=info)
    if not known.source:
        says = "the bucket has no mirror source: prefetch can pull nothing"
        advice = f'set one {_CONSOLE}, or operation = "fetch" with origin_url'
        return wanted.find(Subject.SOURCE, Level.ERROR, says, advice, told_by=info)
    doubts = [doubt for source in known.source if (doubt := _doubt(source))]
    advices = [f"set the bare root of a site {_CONSOLE}, and see that one key arrives"] if doubts else []
    sources = " and ".join(map(shown, known.source))
    if wanted.origin_url is not None and not _is_among(wanted.origin_url, known):
        doubts.insert(0, f"Kodo pulls from {sources}, origin_url is {wanted.origin_url}")
        advices.insert(0, f"correct whichever is wrong: the source {_CONSOLE}, or origin_url")
    if doubts:
        return wanted.find(Subject.SOURCE, Level.WARNING, "; ".join(doubts), "; ".join(advices), told_by=info)
    host = f", as {short(known.host)}" if known.host else ""
    return wanted.find(Subject.SOURCE, Level.OK, f"{sources}{host}", told_by=info)


def about_stat(wanted: Wanted, sample: Sample | None, info: Reply, reply: Reply) -> Finding | None:
    """None when the answer says something of the account or the bucket that is a finding already."""
    told, text = answer_of(reply), _why(reply)
    if told in {200, 612}:
        says = "the bucket can be asked for keys" if sample is None else _stored(sample, reply)
        return wanted.find(Subject.STAT, Level.OK, says, told_by=reply)
    if (told in _REFUSED | {631} and answer_of(info) != 200) or _is_about_clock(reply):
        return None
    if told == 403:
        return _about_forbidden_stat(wanted, reply)
    if told == 401:
        advice = "bucketInfo took the same pair, but signed otherwise: try the other kodo.scheme"
        return wanted.find(Subject.STAT, Level.ERROR, f"refused: {text}", advice, told_by=reply)
    level = Level.WARNING if _is_services(reply) else Level.ERROR
    return wanted.find(Subject.STAT, level, f"could not be asked: {text}", _advice(reply), told_by=reply)


def _about_forbidden_stat(wanted: Wanted, reply: Reply) -> Finding:
    if not wanted.verify:
        says = 'not permitted, and with verify = "off" not needed'
        return wanted.find(Subject.STAT, Level.OK, says, told_by=reply)
    says = f'not permitted, but verify = "stat": {_why(reply)}'
    return wanted.find(Subject.STAT, Level.WARNING, says, 'permit it, or set verify = "off"', told_by=reply)


def _is_about_clock(reply: Reply) -> bool:
    return is_clock_wrong(Operation.DELETE, reply)  # like all that is asked here it asks no origin


def _is_services(reply: Reply) -> bool:
    """Whether it is Kodo that could not answer just now."""
    told = answer_of(reply)
    verdict = FAILURES.get(told or 0)
    return told is not None and (told >= 500 if verdict is None else verdict.fault is Fault.SERVICE)


def _advice(reply: Reply) -> str:
    """What to do first where the answer tells nothing of what was asked."""
    if _is_about_clock(reply):
        return CLOCK_ADVICE
    return _LATER if _is_services(reply) else ADVICE.get(answer_of(reply) or 0, _BETWEEN)


def about_origin(wanted: Wanted, sample: Sample, base: str, served: Served) -> Finding:
    """`base` is the origin_url, or the bucket's mirror source, which this machine need not be able to reach."""
    worst = Level.WARNING if wanted.origin_url is None else Level.ERROR
    key, site = short(sample.key), shown(base)
    match served.status:
        case None:
            level = Level.WARNING if wanted.operation is Operation.PREFETCH else Level.ERROR
            says = f"{site} gave no answer: {served.error}"
            advice = "if it lets in Kodo and not this machine, all is well; else see why it does not answer"
        case 200 | 206 if None in {served.size_bytes, sample.size_bytes} or served.size_bytes == sample.size_bytes:
            level, says, advice = Level.OK, f"{site} serves {key}", ""
        case 200 | 206:
            level = Level.WARNING
            who = "the file has" if sample.on_disk else "the feed says"
            says = f"{site} serves {key} with {served.size_bytes} bytes, {who} {sample.size_bytes}"
            advice = "see whether a cache in front of it keeps old files: Kodo would store what is served"
        case 404 | 410 if not sample.on_disk:
            level, says = Level.WARNING, f"{site} has no {key} ({served.status}), but the feed names it"
            advice = "if it was removed since, all is well; else see that origin_url, key_from and key_prefix suit it"
        case 404 | 410:
            level, says = worst, f"{site} has no {key} ({served.status}), but the file is here"
            advice = "see that the site's root is the source's path, and that key_prefix suits it"
        case 401 | 403:
            level, says = worst, f"{site} refuses {key} ({served.status})"
            advice = "let Kodo in without a login; if it lets in Kodo and not this machine, all is well"
        case status if 300 <= status < 400:
            to = shown(served.location) if served.location else "nowhere"
            level, says = Level.WARNING, f"{site} redirects {key} to {to} ({status})"
            advice = "name the address that it leads to: whether Kodo follows a redirect is not documented"
        case status:
            level, says = Level.WARNING if status == 429 else worst, f"{site} answers {status} for {key}"
            advice = "look at the origin, and at what is in front of it: Kodo stores only what comes with a 200"
    return wanted.find(Subject.ORIGIN, level, says, advice)


def no_file(wanted: Wanted) -> Finding:
    """The source is empty, so the origin cannot be asked for anything."""
    return wanted.find(Subject.ORIGIN, Level.OK, "not asked: there is no file to try")


def no_key(wanted: Wanted) -> Finding:
    """The feed has named none, so the origin cannot be asked for anything."""
    return wanted.find(Subject.ORIGIN, Level.OK, "not asked: there is no key to try")


def origin_base(wanted: Wanted, known: BucketInfo | None) -> str | None:
    """Where the origin has its files: as the settings say, else as the bucket does; None: nobody says."""
    if wanted.origin_url is not None:
        return wanted.origin_url
    sources = known.source if known is not None and wanted.operation is Operation.PREFETCH else ()
    return next((source for source in sources if _parts(source) is not None), None)


def shown(url: str) -> str:
    """A URL that somebody else wrote, without what may be a secret."""
    bare = re.split(r"[?#]", url, maxsplit=1)[0]
    parts = _parts(bare)
    if parts is None:
        return ascii(short(bare.rpartition("@")[2]))
    scheme, host, port, path = parts
    return short(f"{scheme}://{host}{'' if port == _PORTS[scheme] else f':{port}'}{path}")


def _doubt(source: str) -> str | None:
    """What is odd about a mirror source, which Qiniu documents as the root of a site (kodo.md 6.8)."""
    parts = _parts(source)
    if parts is None:
        return f"{shown(source)} is not the bare http or https address of a site"
    return f"{shown(source)} has a path, and a mirror source is a site's root" if parts[3] else None


def _is_among(origin_url: str, known: BucketInfo) -> bool:
    """Whether Kodo pulls from `origin_url`, be it from an IP address with that name as the Host header."""
    wanted = _parts(origin_url)
    for source in known.source:
        found = _parts(source)
        if found is not None and wanted in {found, _parts(f"{found[0]}://{known.host}{found[3]}")}:
            return True
    return False


def _parts(url: str) -> tuple[str, str, int, str] | None:
    """Scheme, host, port and path without a trailing slash, so that equal means the same; None: no such URL."""
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:  # a port or an IPv6 address that is none
        return None
    host = parts.hostname or ""
    if not host or not port or re.search(r"[?#\\]|[^!-~]", url):
        return None
    return parts.scheme, f"[{host}]" if ":" in host else host, port, parts.path.rstrip("/")


def _why(reply: Reply) -> str:
    if reply.status is None:
        return reply.error or "no answer"
    if answer_of(reply) is None:
        return f"{reply.status}, and {NOT_KODO}"
    return f"{reply.status}: {reply.error or 'not the answer that belongs to the question'}"


def _stored(sample: Sample, reply: Reply) -> str:
    if reply.status == 612:
        return f"{short(sample.key)} is not in the bucket yet"
    size = "" if reply.size_bytes is None else f", {reply.size_bytes} bytes"
    return f"{short(sample.key)} is in the bucket{size}"


def short(text: str) -> str:
    """For a line of a table."""
    return text if len(text) <= 60 else f"{text[:59]}…"


def _span(seconds: float) -> str:
    for unit, size_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s"
