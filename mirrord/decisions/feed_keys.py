"""What a feed mentions to changes of keys: which name is which path of the origin, and which version it means."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import unquote_to_bytes, urlsplit

from mirrord.decisions.keymap import Selection, key_for, path_for
from mirrord.model.change import Change, Rejection
from mirrord.model.fingerprint import Fingerprint, of_token
from mirrord.model.mention import Mention

ORDER_MOST = 512
"""Characters of an order: one is kept for every key, for ever."""
SHOWN_MOST = 500
"""Characters of a name in a rejection: a feed's line may have a million, and what was said is remembered."""
_REMEMBERED_MOST = 4096

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([^?#]*)(.*)", re.DOTALL)
_DOTS = re.compile(r"(?:^|/)\.\.?(?:/|$)")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyFrom:
    """How a feed's names become paths. Raises re.error when the template does not fit the pattern."""

    pattern: re.Pattern[str]
    """Of whole names."""
    template: str
    """The path, the pattern's groups standing in it as `\\1` or `\\g<name>`; one that took no part is empty."""
    skip_others: bool
    """Whether names that do not match are left out, instead of rejected."""

    def __post_init__(self) -> None:
        try:
            self.pattern.sub(self.template, "")
        except IndexError as exc:  # what `re` raises where it is a group's name that is unknown
            raise re.error(str(exc)) from exc


class FeedKeys:
    """One mirror's rules."""

    def __init__(
        self, *, origin_url: str | None, key_prefix: str, selection: Selection, key_from: KeyFrom | None
    ) -> None:
        self._origin = None if origin_url is None else _Origin(origin_url)
        self._prefix = key_prefix
        self._selection = selection
        self._key_from = key_from
        self._pruned: dict[str, bool] = {}

    def changes(
        self, mentions: Iterable[Mention], seen_at: datetime, as_of: datetime | None = None, *, stamp: str
    ) -> tuple[list[Change], list[Rejection]]:
        """`change` of each; `stamp` is unique for all of them together."""
        changes, rejections = list[Change](), list[Rejection]()
        for number, mention in enumerate(mentions):
            made = self.change(mention, seen_at, as_of=as_of, stamp=f"{stamp}.{number}")
            if isinstance(made, Change):
                changes.append(made)
            elif made is not None:
                rejections.append(made)
        return changes, rejections

    def change(
        self, mention: Mention, seen_at: datetime, *, as_of: datetime | None = None, stamp: str
    ) -> Change | Rejection | None:
        """What is to be recorded; None when the settings leave that name out.

        `stamp` is unique: of a feed that names no versions, every mention is another one.
        `as_of`: when the snapshot was made that the mention is from.
        """
        key = self._key(mention.name)
        if not isinstance(key, str):
            return key
        order = mention.order
        if order is not None and not _can_be_kept(order):
            return _rejected(mention.name, f"its order is no text of at most {ORDER_MOST} characters")
        return Change(key=key, version=_version(mention, stamp), seen_at=seen_at, as_of=as_of, order=order)

    def covers(self, key: str) -> bool:
        """Whether the settings want `key` at all: what they leave out is not gone because no feed names it."""
        path = path_for(key, self._prefix)
        return path is not None and self._takes(path)

    def _key(self, name: str) -> str | Rejection | None:
        path = self._path(name)
        if not isinstance(path, str):
            return path
        flaw = _flaw(path)
        if flaw is not None:
            return _rejected(name, flaw)
        key = _key_for(path, self._prefix)
        if isinstance(key, Rejection):
            return _rejected(name, key.reason)
        return key if self._takes(path) else None

    def _path(self, name: str) -> str | Rejection | None:
        """What `name` says, whatever that is worth as a path."""
        if self._key_from is not None:
            found = self._key_from.pattern.fullmatch(name)
            if found is not None:
                return found.expand(self._key_from.template)
            return None if self._key_from.skip_others else _rejected(name, "the name does not match key_from")
        url = _URL.fullmatch(name) if "://" in name else None
        if url is None:
            return name.removeprefix("/")
        if self._origin is None:
            return _rejected(name, "the name is a URL, and there is no origin_url that it could be below")
        return self._origin.path_of(name, url)

    def _takes(self, path: str) -> bool:
        """`Selection.takes`, which is asked but once for each directory: they come many files together."""
        directory, _, name = path.rpartition("/")
        pruned = self._pruned.get(directory)
        if pruned is None:
            pruned = self._selection.prunes_path(directory)
            _remember(self._pruned, directory, answer=pruned)
        return not pruned and self._selection.takes_file(directory and directory + "/", name)


class _Origin:
    """Which URLs are of files below one URL."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._url = url
        self._scheme = parts.scheme
        self._place = _place(parts.scheme, parts.netloc)
        self._above = [unquote_to_bytes(segment) for segment in parts.path.rstrip("/").split("/")]
        self._is_it: dict[str, bool] = {}

    def path_of(self, name: str, url: re.Match[str]) -> str | Rejection:
        """The path below the origin, decoded; `url` is what `_URL` found in `name`."""
        scheme, authority, path, others = url.groups()
        segments = path.split("/")
        above = segments[: len(self._above)]
        if (
            scheme.lower() != self._scheme
            or not self._is_at(authority)
            or len(segments) == len(above)
            or [unquote_to_bytes(_bytes_of(segment)) for segment in above] != self._above
        ):
            return _rejected(name, f"is not below {self._url}")
        if others:
            return _rejected(name, "the URL has a query or a fragment, which no key has")
        below = "/".join(segments[len(above) :])
        if "%" not in below:
            return below
        return unquote_to_bytes(_bytes_of(below)).decode("utf-8", "surrogateescape")

    def _is_at(self, authority: str) -> bool:
        """Whether that is the origin's host and port."""
        known = self._is_it.get(authority)
        if known is None:
            known = self._place is not None and _place(self._scheme, authority) == self._place
            _remember(self._is_it, authority, answer=known)
        return known


def _place(scheme: str, authority: str) -> tuple[str, int | None] | None:
    """Host and port, comparable; None for what is neither, or has a user besides."""
    if "@" in authority or not authority.isprintable():
        return None
    try:
        parts = urlsplit(f"//{authority}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return None
    if not host.isascii():
        try:
            host = host.encode("idna").decode()
        except UnicodeError:
            return None
    return host, _PORTS.get(scheme) if port is None else port


def _flaw(path: str) -> str | None:
    """Why no file can be at `path`."""
    if not path:
        return "the name is empty"
    if path[-1] == "/":
        return "the name ends in a slash: it is a directory's"
    if "\0" in path:
        return "the name has a NUL in it"
    if (path[0] == "." or "/." in path) and _DOTS.search(path):
        return 'the name has a segment "." or ".."'
    return None


def _key_for(path: str, prefix: str) -> str | Rejection:
    try:
        return key_for(path, prefix)
    except UnicodeEncodeError:  # a surrogate that stands for no byte: JSON can say that, and no file is called so
        return key_for(_bytes_of(path).decode("utf-8", "surrogateescape"), prefix)


def _version(mention: Mention, stamp: str) -> Fingerprint | None:
    if mention.removed:
        return None
    token = f"@{stamp}" if mention.token is None else mention.token
    return of_token(token, size_bytes=mention.size_bytes, etag=mention.etag, modified=mention.modified)


def _can_be_kept(order: str) -> bool:
    try:
        order.encode()
    except UnicodeEncodeError:
        return False
    return len(order) <= ORDER_MOST and "\0" not in order


def _remember(answers: dict[str, bool], asked: str, *, answer: bool) -> None:
    """Boundedly: a feed can ask for anything."""
    if len(answers) >= _REMEMBERED_MOST:
        answers.clear()
    if len(asked) <= SHOWN_MOST:
        answers[asked] = answer


def _bytes_of(name: str) -> bytes:
    """As they came, where it was bytes that came."""
    try:
        return name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogatepass")


def _rejected(name: str, reason: str) -> Rejection:
    """`name` printable, and without what may be secret in a URL."""
    url = _URL.fullmatch(name) if "://" in name else None
    if url is not None:
        scheme, authority, path, others = url.groups()
        _, at, host = authority.rpartition("@")
        name = f"{scheme}://{'…@' if at else ''}{host}{path}{others[:1] + '…' if others else ''}"
    text = _bytes_of(name[:SHOWN_MOST]).decode("utf-8", "backslashreplace")
    if not text.isprintable():
        text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    return Rejection(name=text + ("…" if len(name) > SHOWN_MOST else ""), reason=reason)
