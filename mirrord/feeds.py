"""Settings' feed sections to feeds that run: one reader for each feed, however many mirrors follow it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING, assert_never

from pydantic import SecretStr

from mirrord.decisions.feed_findings import Posted
from mirrord.decisions.feed_keys import FeedKeys, KeyFrom
from mirrord.decisions.findings import Subject
from mirrord.decisions.keymap import Selection
from mirrord.doors import Doors
from mirrord.feed_settings import (
    CouchDbFeed,
    FeedSource,
    HttpFeedsFeed,
    JsonLinesFeed,
    ResourceSyncFeed,
    SitemapFeed,
    SseFeed,
    WebhookFeed,
)
from mirrord.feed_values import Pointers as PointerSettings
from mirrord.feed_values import Snapshot as SnapshotSettings
from mirrord.settings import Mirror, Settings
from mirrord.sources.feed.couchdb import CouchDb
from mirrord.sources.feed.dialect import Dialect, Limits
from mirrord.sources.feed.fetching import Access, Fetcher, Patience, shown_url
from mirrord.sources.feed.forms import JsonForm, ResourceListForm, SitemapForm
from mirrord.sources.feed.http_feeds import HttpFeeds
from mirrord.sources.feed.jsonl import JsonLines, syncthing
from mirrord.sources.feed.lane import Manner
from mirrord.sources.feed.origins import origin_of, parse_url
from mirrord.sources.feed.pointers import Pointers
from mirrord.sources.feed.probing import PATIENCE, FeedProbe, SnapshotProbe
from mirrord.sources.feed.reconciling import Reconciling
from mirrord.sources.feed.searching import ResourceSync
from mirrord.sources.feed.shared import SharedFeed
from mirrord.sources.feed.snapshot import Form
from mirrord.sources.feed.source import FeedSource as FeedOrigin
from mirrord.sources.feed.sse import Sse
from mirrord.sources.feed.walk import Walk

if TYPE_CHECKING:
    from mirrord.preflight import Probe
    from mirrord.sources.feed.deliveries import Take
    from mirrord.sources.feed.hooks import Hook
    from mirrord.sources.feed.webhook import Parsed

ReadFeed = CouchDbFeed | HttpFeedsFeed | JsonLinesFeed | ResourceSyncFeed | SseFeed
"""What is read entry by entry."""

_OWN = {"key_from": None, "snapshot": None, "confirm_origin": False, "confirm_most": None}
"""What may differ between mirrors that share a feed."""


@dataclass(frozen=True, slots=True)
class _Looked:
    """How a snapshot is looked at; mirrors that do so in the same way share it."""

    section: FeedSource
    snapshot: SnapshotSettings | None


class Feeds:
    """All feeds of one service."""

    def __init__(
        self,
        settings: Settings,
        *,
        doors: Doors,
        user_agent: str,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._status_listen = settings.status.listen
        self._doors = doors
        self._user_agent = user_agent
        self._now = now
        self._chance = chance
        self._read: list[tuple[ReadFeed, SharedFeed]] = []
        self._looked: list[tuple[_Looked, Walk]] = []

    def source(self, mirror: Mirror, feed: FeedSource, selection: Selection) -> FeedOrigin:
        """The mirror's feed; what it shares with others is made once."""
        keys = self._keys(mirror, feed, selection)
        # where there is a directory too, its scan tells what there was before
        from_now = not isinstance(feed, SitemapFeed | WebhookFeed) and feed.start == "now"

        async def push(pushed: "Parsed") -> None:
            await origin.push(pushed)

        hook = self._hook(mirror, feed, push) if isinstance(feed, WebhookFeed) else None
        origin = FeedOrigin(
            mirror.name,
            feed.identity,
            keys,
            now=self._now,
            feed=None if isinstance(feed, SitemapFeed | WebhookFeed) else self._shared(feed, mirror),
            incoming=None if hook is None else hook.run,
            reconciling=None if mirror.directory else self._reconciling(mirror, feed, keys),
            from_now=from_now or mirror.directory is not None,
            rules=_rules(mirror, feed),
        )
        return origin

    def probes(self, mirror: Mirror, feed: FeedSource, selection: Selection) -> "list[Probe]":
        """What can be asked of the feed before it is followed; all of it from its beginning."""
        keys = self._keys(mirror, feed, selection)
        probes: list[Probe] = []
        if isinstance(feed, WebhookFeed):
            probes.append(_Hooked(_posted(mirror, feed, self._status_listen)))
        elif not isinstance(feed, SitemapFeed):
            probes.append(FeedProbe(_dialect(feed), self._fetcher(feed, feed.url, PATIENCE), keys, self._now))
        looked = None if mirror.directory else _looked_at(feed)
        if looked is not None:
            url, form = _form(looked, feed)
            subject = Subject.FEED if isinstance(feed, SitemapFeed) else Subject.SNAPSHOT
            probes.append(
                SnapshotProbe(url, form, self._fetcher(feed, url, PATIENCE), keys, self._now, subject=subject)
            )
        return probes

    def _keys(self, mirror: Mirror, feed: FeedSource, selection: Selection) -> FeedKeys:
        return FeedKeys(
            origin_url=mirror.origin_url, key_prefix=mirror.key_prefix, selection=selection, key_from=_key_from(feed)
        )

    # -- feeds that are read -----------------------------------------------------------------------------

    def _shared(self, feed: ReadFeed, mirror: Mirror) -> SharedFeed:
        from_now = feed.start == "now" or mirror.directory is not None
        same = feed.model_copy(update={**_OWN, "start": "now" if from_now else "beginning"})
        for section, shared in self._read:
            if section == same and not shared.unused:
                return shared.join()
        dialect, limits = _dialect(feed), _limits(feed)
        shared = SharedFeed(
            dialect,
            self._fetcher(feed, feed.url),
            Manner(
                name=feed.identity,
                waits=_waits(feed),
                poll_every=feed.poll_every,
                silent_after=_silent_after(feed),
            ),
            limits,
            from_now=from_now,
            has_beginning=not isinstance(feed, SseFeed) or feed.earliest,
            naming=dialect if isinstance(dialect, CouchDb) else None,
            now=self._now,
            chance=self._chance,
        )
        self._read = [each for each in self._read if not each[1].unused] + [(same, shared)]
        return shared.join()

    def _fetcher(self, feed: FeedSource, home: str, patience: Patience | None = None) -> Fetcher:
        """For `home`; what the settings say to the feed is not told to another origin."""
        url = getattr(feed, "url", home)
        told = origin_of(parse_url(url)) == origin_of(parse_url(home))
        access = Access(
            user_agent=self._user_agent,
            headers=feed.plain_headers if told else {},
            authorization=feed.authorization if told else None,
            redirects_to=frozenset(feed.allow_redirects_to),
            home=home,
        )
        return Fetcher(access, patience, unpacked=feed.limits.unpacked)

    # -- snapshots ---------------------------------------------------------------------------------------

    def _reconciling(self, mirror: Mirror, feed: FeedSource, keys: FeedKeys) -> Reconciling | None:
        looked = _looked_at(feed)
        if looked is None:
            return None
        alone = isinstance(feed, SitemapFeed)
        every = feed.poll_every if isinstance(feed, SitemapFeed) else _every(looked.snapshot)
        return Reconciling(
            mirror.name,
            self._snapshot(looked, feed, every),
            keys,
            every=every,
            alone=alone,
            now=self._now,
            chance=self._chance,
        )

    def _snapshot(self, looked: _Looked, feed: FeedSource, every: timedelta) -> Walk:
        for known, snapshot in self._looked:
            if known == looked and not snapshot.unused:
                return snapshot.join()
        url, form = _form(looked, feed)
        limits = _limits(feed)
        made = Walk(
            f"{looked.snapshot.format if looked.snapshot else feed.format} {shown_url(url)}",
            url,
            form,
            self._fetcher(feed, url),
            limits,
            fresh_for=min(every / 2, timedelta(minutes=5)),
            now=self._now,
        )
        self._looked = [each for each in self._looked if not each[1].unused] + [(looked, made)]
        return made.join()

    # -- feeds that push ---------------------------------------------------------------------------------

    def _hook(self, mirror: Mirror, feed: WebhookFeed, take: "Take") -> "Hook":
        from mirrord.sources.feed.hook_access import HookAccess  # noqa: PLC0415 - only where something listens
        from mirrord.sources.feed.hooks import Hook  # noqa: PLC0415

        access = HookAccess(
            token=_plain(feed.token),
            hmac_secret=_plain(feed.hmac_secret),
            signature_header=feed.signature_header,
            open=feed.auth == "none",
        )
        hook = Hook(
            mirror.name,
            take,
            access,
            removed_types=feed.removed_types,
            bucket=feed.s3_bucket or None,
            body_most=feed.body,
        )
        self._doors.open(feed.listen or self._status_listen, mirror.name, hook.routes())
        return hook


@dataclass(frozen=True, slots=True)
class _Hooked:
    """Implements mirrord.preflight.Probe for what nobody can be asked for."""

    posted: Posted
    subject: Subject = Subject.FEED

    async def ask(self) -> Posted:
        return self.posted


def _posted(mirror: Mirror, feed: WebhookFeed, status_listen: str) -> Posted:
    shown = ["`Authorization: Bearer …`"] if feed.token else []
    shown += [f"the HMAC-SHA256 in {feed.signature_header}"] if feed.hmac_secret else []
    return Posted(address=feed.listen or status_listen, path=f"/hooks/{mirror.name}", shown=tuple(shown))


def _dialect(feed: ReadFeed) -> Dialect:
    limits = _limits(feed)
    match feed:
        case CouchDbFeed():
            mode = "longpoll" if feed.mode == "auto" else feed.mode
            return CouchDb(feed.url, page=feed.page, mode=mode, heartbeat=feed.heartbeat, limits=limits)
        case HttpFeedsFeed():
            return HttpFeeds(feed.url, mode="longpoll" if _waits(feed) else "poll", wait=feed.heartbeat, limits=limits)
        case JsonLinesFeed(preset="syncthing"):
            return syncthing(feed.url, wait=feed.heartbeat, limits=limits, folder=feed.folder)
        case JsonLinesFeed():
            return JsonLines(
                feed.url,
                pointers=_pointers(feed),
                since_param=feed.since_param,
                limit_param=feed.limit_param,
                page=feed.page,
                wait_param=feed.wait_param,
                wait=feed.heartbeat,
                mode="longpoll" if _waits(feed) else "poll",
                overlap=feed.overlap,
                gapless=feed.gapless,
                limits=limits,
            )
        case ResourceSyncFeed():
            return ResourceSync(feed.url, overlap=feed.overlap, limits=limits)
        case SseFeed():
            return Sse(
                feed.url,
                pointers=_pointers(feed),
                events=frozenset(feed.events),
                heartbeat=feed.heartbeat,
                earliest=feed.earliest,
                limits=limits,
            )
        case _:
            assert_never(feed)


def _waits(feed: ReadFeed) -> bool:
    """Whether the server holds its answers until there is news."""
    match feed:
        case CouchDbFeed() | HttpFeedsFeed():
            return feed.mode != "poll"
        case JsonLinesFeed():
            return feed.mode != "poll" and (feed.preset == "syncthing" or feed.wait_param is not None)
        case ResourceSyncFeed():
            return False
        case SseFeed():
            return True
        case _:
            assert_never(feed)


def _silent_after(feed: FeedSource) -> timedelta | None:
    if isinstance(feed.silent_after, timedelta):
        return feed.silent_after
    return None if feed.silent_after == "auto" else timedelta(0)


def _looked_at(feed: FeedSource) -> _Looked | None:
    """What of the settings says how its snapshot is looked at; None: it has none."""
    if isinstance(feed, SitemapFeed):
        return _Looked(feed.model_copy(update={**_OWN, "snapshot": None}), None)
    if feed.snapshot is None and not isinstance(feed, ResourceSyncFeed):
        return None
    return _Looked(feed.model_copy(update=_OWN), feed.snapshot)


def _every(snapshot: SnapshotSettings | None) -> timedelta:
    return timedelta(days=1) if snapshot is None else snapshot.every


def _form(looked: _Looked, feed: FeedSource) -> tuple[str, Form]:
    """The address of its first document, and what its documents are."""
    limits, snapshot = _limits(feed), looked.snapshot
    url = snapshot.url if snapshot is not None else str(getattr(feed, "url", ""))
    match snapshot.format if snapshot is not None else feed.format:
        case "sitemap":
            return url, SitemapForm(limits)
        case "resourcesync":
            return url, ResourceListForm(limits)
        case _:
            pointers = _pointed(snapshot.pointers if snapshot is not None else PointerSettings())
            return url, JsonForm(JsonLines(url, pointers=pointers, limits=limits))


def _limits(feed: FeedSource) -> Limits:
    return Limits(document=feed.limits.document, line=feed.limits.line, entries=feed.limits.entries)


def _pointers(feed: JsonLinesFeed | SseFeed) -> Pointers:
    pointers = replace(_pointed(feed.pointers), removed=frozenset(feed.removed), only=feed.only)
    return pointers if feed.written is None else replace(pointers, written=frozenset(feed.written))


def _rules(mirror: Mirror, feed: FeedSource) -> str:
    """Names the settings that say which keys a feed's names are."""
    made = feed.key_from
    named = None if made is None else (made.pattern.pattern, made.key, made.others)
    said = (mirror.origin_url, mirror.key_prefix, mirror.include, mirror.exclude, named)
    return blake2b(repr(said).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _pointed(pointers: PointerSettings) -> Pointers:
    return Pointers(**pointers.model_dump())


def _key_from(feed: FeedSource) -> KeyFrom | None:
    made = feed.key_from
    if made is None:
        return None
    return KeyFrom(pattern=made.pattern, template=made.expansion, skip_others=made.others == "skip")
