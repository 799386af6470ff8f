"""Values to HTML: what a person reads of mirrors, attempts and keys. Every text is escaped, whoever wrote it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mirrord.decisions.explaining import came, condition_in_words, counted, moment, plain, span
from mirrord.journal.report import Failing, MirrorReport
from mirrord.model.attempt import Outcome
from mirrord.model.coverage import Coverage
from mirrord.model.row import ObjectRow, State
from mirrord.status.chart import seconds_in_words
from mirrord.status.recent import Line
from mirrord.status.standing import MirrorStanding

HERE = Path(__file__).parent
_OUTCOMES = {each.value: each for each in Outcome}
_ARRIVED = {Outcome.REFRESHED.value, Outcome.REMOVED.value}
_STEPS = {"done": "", "retry": "again", "park": "given up", "hold": "held for a person, again"}
_TOLD = frozenset({"event", "level", "timestamp", "mirror", "key", "reqid", "error", "action", "reason"})
_REQID = re.compile(r"  X-Reqid ([^\s,]+)(.*)")


@dataclass(frozen=True, slots=True)
class Complete:
    """Whether a mirror is complete, in a word and in a sentence; `kind` is what it looks like."""

    kind: str
    """"good", "busy", "bad" or "unknown"."""
    word: str
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What an operator asks first of one mirror."""

    standing: MirrorStanding
    report: MirrorReport | None
    """None: the journal could not be read yet."""
    failing: Sequence[Failing]
    complete: Complete
    conditions: Sequence[str]

    @property
    def numbers(self) -> list[tuple[str, int | None, str]]:
        """Name, count and what it looks like if there are any; None: not known."""
        keys: Mapping[State, int] = self.report.keys if self.report else {}
        stale = keys[State.STALE] + keys[State.CLAIMED] if keys else None
        return [
            ("fresh", keys.get(State.FRESH), ""),
            ("stale", stale, "busy"),
            ("in flight", self.standing.in_flight, ""),
            ("parked", keys.get(State.PARKED), "bad"),
            ("held", keys.get(State.HELD), "busy"),
            ("kept", self.report.kept if self.report else None, ""),
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """One line of the last attempts; None: it had none, or it is covered."""

    at: datetime
    mirror: str
    key: str
    operation: str
    arrived: bool
    came: str
    step: str
    took: str
    lag: str
    reqid: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A warning or an error, in the log's own words."""

    at: datetime
    level: str
    event: str
    mirror: str | None
    key: str | None
    reqid: str | None
    says: str
    action: str | None
    facts: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Spoken:
    """A line of a story: text, something to type, or an X-Reqid with what is said of it."""

    text: str
    indented: bool = False
    command: str | None = None
    reqid: str | None = None


class Pages:
    """The templates. Whatever they are not given, or name wrongly, is a bug and raises."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.filters.update(
            key=shown, plain=plain, number=grouped, moment=moment, span=span, counted=counted, iso=iso, epoch=epoch
        )
        self._templates.globals.update(
            explain=explain_path, mirror_path=mirror_path, search=search_path, act=act_path, spoken=spoken
        )
        for name in self._templates.list_templates():  # reading files is not for the loop, later
            self._templates.get_template(name)

    def html(self, name: str, **values: Any) -> str:
        return self._templates.get_template(f"{name}.html").render(values)


def card(standing: MirrorStanding, report: MirrorReport | None, failing: Sequence[Failing], now: datetime) -> Card:
    """The process knows its coverage and conditions better than its journal, which may lag behind."""
    return Card(
        standing=standing,
        report=report,
        failing=failing,
        complete=complete(standing.coverage, report, now),
        conditions=[condition_in_words(each, now, served=True) for each in standing.conditions],
    )


def complete(coverage: Coverage, report: MirrorReport | None, now: datetime) -> Complete:
    """The worst first: what was missed cannot be counted."""
    behind = _behind(report) if report else ""
    if coverage.lost_since is not None:
        reason = f": {plain(coverage.lost_reason)}" if coverage.lost_reason else ""
        since = f"{moment(coverage.lost_since, now)} ({span(now - coverage.lost_since)} ago)"
        missed = f"Changes since {since} may have been missed{reason}."
        return Complete("bad", "Not complete", f"{behind} {missed}".lstrip())
    if report is None:
        return Complete("unknown", "Not known", "The journal could not be read yet.")
    if coverage.complete_as_of is None:
        return Complete("busy", "Not complete yet", f"{behind} The origin has not been seen whole.".lstrip())
    if report.settled:
        return Complete("good", "Complete", "Every key is as the origin has it.")
    if report.keys[State.PARKED]:
        return Complete("bad", "Not complete", behind)
    goes_on = report.keys[State.STALE] + report.keys[State.CLAIMED]
    return Complete("busy", "Catching up" if goes_on else "Waits for a person", behind)


def _behind(report: MirrorReport) -> str:
    """What is not fresh, as a sentence; "" when all is."""
    keys = report.keys
    counts = (
        (keys[State.STALE] + keys[State.CLAIMED], "key", "behind"),
        (keys[State.PARKED], "key", "given up"),
        (keys[State.HELD], "removal", "held for a person"),
    )
    parts = [f"{counted(count, noun)} {words}" for count, noun, words in counts if count]
    return f"{', '.join(parts)}." if parts else ""


def attempted(line: Line, fields: Mapping[str, Any]) -> Attempted:
    """A line of `refresh.attempted`; `fields` are its own with every secret covered."""
    outcome, status, error = _text(fields["outcome"]), fields["status"], fields["error"]
    arrived = outcome in _ARRIVED
    status = status if isinstance(status, int) else None
    said = came(status, _OUTCOMES.get(outcome), None if error is None else _text(error))
    retry_in = _number(fields["retry_in_s"])
    step = _text(fields["next"])
    again = f" in {seconds_in_words(retry_in)}" if retry_in is not None else ""
    return Attempted(
        at=line.at,
        mirror=_text(fields["mirror"]),
        key=_text(fields["key"]),
        operation=_text(fields["operation"]),
        arrived=arrived,
        came=f"{status} {outcome}" if arrived and step == "done" and not error else said,
        step=f"{_STEPS.get(step, step)}{again}".lstrip(),
        took=_seconds(fields["duration_s"]),
        lag=_seconds(fields["lag_s"]) if arrived else "",
        reqid=None if fields["reqid"] is None else _text(fields["reqid"]),
    )


def remark(line: Line, fields: Mapping[str, Any]) -> Remark:
    """Any warning or error; `fields` are its own with every secret covered."""
    return Remark(
        at=line.at,
        level=line.level,
        event=_text(fields.get("event", "")),
        mirror=_text_or_none(fields.get("mirror")),
        key=_text_or_none(fields.get("key")),
        reqid=_text_or_none(fields.get("reqid")),
        says=_text(fields.get("error") or fields.get("reason") or ""),
        action=_text_or_none(fields.get("action")),
        facts=[(name, _text(value)) for name, value in fields.items() if name not in _TOLD and value is not None],
    )


def spoken(line: str) -> Spoken:
    """A line of a story, as `decisions.explaining` tells it."""
    if line.lstrip().startswith("mirrord "):
        return Spoken("", indented=True, command=line.lstrip())
    if found := _REQID.fullmatch(line):
        return Spoken(found[2], indented=True, reqid=found[1])
    return Spoken(line.strip(), indented=line.startswith(" "))


def last_came(row: ObjectRow) -> str:
    """How the last attempt at the key ended; "" when there was none, or it was at an earlier version."""
    if row.last_at is None or not row.attempts:
        return ""
    return came(row.last_status, row.last_outcome, row.last_error)


def alike(key: str, neighbours: Sequence[str], most: int) -> list[str]:
    """Known keys just before and after, in order."""
    before = [each for each in neighbours if each < key]
    return [*before[-most:], *[each for each in neighbours if each > key][:most]]


# -- texts ---------------------------------------------------------------------------------------------


def shown(text: str) -> Markup:
    """A key as it can be read: nothing of it is obeyed, what cannot be printed stands as an escape that shows as one.

    Isolated, so that a name that is written from right to left leaves its neighbours where they are.
    """
    if text.isprintable():
        return Markup('<bdi class="key">{}</bdi>').format(text)
    parts = (
        escape(part) if part.isprintable() else Markup('<span class="control">{}</span>').format(plain(part))
        for part in _runs(text)
    )
    return Markup('<bdi class="key">{}</bdi>').format(Markup("").join(parts))


def _runs(text: str) -> Iterable[str]:
    """Its longest parts that can be printed whole, or not at all."""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or text[end].isprintable() != text[start].isprintable():
            yield text[start:end]
            start = end


def grouped(count: int | None) -> str:
    """With thin gaps between thousands, which do not break; a dash for what is not known."""
    return "–" if count is None else f"{count:,}".replace(",", "\u202f")


def iso(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def epoch(at: datetime) -> str:
    """Seconds since 1970, for the script."""
    return f"{at.timestamp():.0f}"


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _seconds(value: object) -> str:
    number = _number(value)
    return "" if number is None else seconds_in_words(number)


# -- addresses -----------------------------------------------------------------------------------------

_quoted = partial(quote, safe="", errors="replace")  # half a character is in no key that is known


def mirror_path(mirror: str, page: int = 1) -> str:
    return f"/mirrors/{_quoted(mirror)}" + (f"?page={page}" if page > 1 else "")


def explain_path(mirror: str, key: str, done: str | None = None) -> str:
    """`done`: what has just come of an action; a word that the page knows."""
    return f"/mirrors/{_quoted(mirror)}/explain?key={_quoted(key)}" + (f"&done={_quoted(done)}" if done else "")


def act_path(mirror: str, wish: str, key: str) -> str:
    """The key goes with the address: a form would send a line break in it as another one."""
    return f"/mirrors/{_quoted(mirror)}/{wish}?key={_quoted(key)}"


def search_path(text: str, mirror: str = "") -> str:
    """All that is found, also when one of them is the text itself."""
    given = {"q": text, "all": "1"} | ({"mirror": mirror} if mirror else {})
    return f"/?{urlencode(given, errors='replace')}"
