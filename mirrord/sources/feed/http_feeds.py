"""HTTP Feeds (http-feeds.org): arrays of CloudEvents to mentions, and the id of the last one as the cursor."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Ask, Batch, End, Head, Limits, Reading, Unreadable
from mirrord.sources.feed.documents import Document, complaint, refuse_page, shown, shown_value
from mirrord.sources.feed.times import parse_time

_OURS = {"lastEventId", "timeout"}
"""What the address itself may say of these is ours to say."""

_GRACE = timedelta(seconds=30)
"""After `timeout` is over, for the answer to be made and to arrive."""


class HttpFeeds:
    """`wait` is how long the server is asked to hold back an empty answer, where `mode` is long-polling."""

    now_cursor: str | None = None
    beginning_is_whole = False
    """Old events may have been compacted away together with the keys that they removed."""

    def __init__(self, url: str, *, mode: Literal["poll", "longpoll"], wait: timedelta, limits: Limits) -> None:
        self._address = urlsplit(url)._replace(fragment="")
        self._own = [pair for pair in self._address.query.split("&") if pair and pair.partition("=")[0] not in _OURS]
        self._mode = mode
        self._wait = wait
        self._limits = limits

    def ask(self, cursor: str | None, *, wait: bool, widen: int = 1) -> Ask:  # noqa: ARG002 - pages have no size here
        waits = wait and self._mode == "longpoll"
        query = [*self._own]
        if cursor is not None:
            query.append(f"lastEventId={quote(cursor, safe='')}")
        if waits:
            query.append(f"timeout={self._wait // timedelta(milliseconds=1)}")
        return Ask(
            url=urlunsplit(self._address._replace(query="&".join(query))),
            headers={"accept": "application/cloudevents-batch+json, application/json;q=0.9"},
            waits=waits,
            idle=self._wait + _GRACE if waits else None,
        )

    def read(self, head: Head, cursor: str | None, *, wait: bool, widen: int = 1) -> Reading:  # noqa: ARG002
        refuse_page(head)
        return _Events(self._limits)


class _Events:
    def __init__(self, limits: Limits) -> None:
        self._document = Document(limits.document)

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        self._document.receive(chunk)
        return ()

    def end(self) -> tuple[Batch, End]:
        events = self._document.json()
        if not isinstance(events, list):
            raise Unreadable(complaint(events, "an array of events"))
        mentions, bad = [], []
        cursor = None
        for event in events:
            cursor = _id(event) or cursor  # of a bad one too: it stays bad, and must not come again and again
            entry = _entry(event)
            if isinstance(entry, Mention):
                mentions.append(entry)
            else:
                bad.append(entry)
        return Batch(mentions=mentions, bad=bad, cursor=cursor), End(caught_up=not events)


def _entry(event: object) -> Mention | Rejection:
    if not isinstance(event, dict):
        return Rejection(name=shown_value(event), reason="is not an event: not an object")
    subject, event_id, method = event.get("subject"), _id(event), event.get("method")
    if not isinstance(subject, str):
        return Rejection(name=shown_value(event), reason="has no subject")
    name = shown(subject.encode("utf-8", "backslashreplace"))
    if event_id is None:
        return Rejection(name=name, reason="has no id")
    method = "PUT" if method is None else method
    if not isinstance(method, str) or method.upper() not in {"PUT", "DELETE"}:
        return Rejection(name=name, reason="its method is neither PUT nor DELETE")
    return Mention(
        name=subject,
        removed=method.upper() == "DELETE",
        token=_token(event, event_id),
        at=parse_time(event.get("time")),
    )


def _id(event: object) -> str | None:
    """None: it has none that can be given back to the server."""
    found = event.get("id") if isinstance(event, dict) else None
    return found if isinstance(found, str) and found and _is_unicode(found) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _token(event: dict[str, object], event_id: str) -> str:
    """Events that are delivered twice have the same `source` and `id` (CloudEvents); `etag` is an extension."""
    etag, source = event.get("etag"), event.get("source")
    if isinstance(etag, str) and etag:
        return etag
    return f"{source} {event_id}" if isinstance(source, str) else event_id
