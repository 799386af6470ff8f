"""A bucket and a key, or a URL, to and from the text that stands for it in a Kodo path."""

from base64 import b64decode, urlsafe_b64encode
from urllib.parse import quote


def encode_entry(bucket: str, key: str | None) -> str:
    """EncodedEntryURI, padding kept. `key` None names the bucket alone, "" the object with the empty key.

    Raises ValueError for a name that no entry can carry.
    """
    if not bucket or ":" in bucket:
        raise ValueError(f"{bucket!r} cannot name a bucket: it must not be empty or contain a colon")
    return urlsafe_b64encode((bucket if key is None else f"{bucket}:{key}").encode()).decode()


def decode_entry(text: str) -> tuple[str, str | None]:
    """The bucket and key of an EncodedEntryURI; raises ValueError."""
    # The first colon only: several official SDKs split at every one and lose the rest of the key.
    bucket, colon, key = _decode(text, "entry").partition(":")
    if not bucket:
        raise ValueError(f"the entry {text!r} names no bucket")
    return bucket, key if colon else None


def encode_url(url: str) -> str:
    """EncodedURL; `url` must be percent-encoded already, base64 does not do that for it."""
    return urlsafe_b64encode(url.encode()).decode()


def encode_condition(**expected: str) -> str:
    """What an object must be for a call to touch it, such as its hash (kodo.md, "delete")."""
    return urlsafe_b64encode("&".join(f"{name}={value}" for name, value in expected.items()).encode()).decode()


def decode_url(text: str) -> str:
    """The URL that an EncodedURL stands for; raises ValueError."""
    return _decode(text, "URL")


def origin_url(base: str, key: str) -> str:
    """Where the origin at `base` has `key`: appended as a path, percent-encoded except for its slashes."""
    return f"{base}{'' if base.endswith('/') else '/'}{quote(key)}"


def _decode(text: str, what: str) -> str:
    if "+" in text or "/" in text:  # the decoder would take the ordinary alphabet as well
        raise ValueError(f"the {what} {text!r} is not URL-safe base64")
    try:
        raw = b64decode(text, altchars=b"-_", validate=True)
    except ValueError as exc:
        raise ValueError(f"the {what} {text!r} is not padded URL-safe base64: {exc}") from exc
    try:
        return raw.decode()
    except UnicodeDecodeError as exc:
        raise ValueError(f"the {what} {text!r} is not UTF-8: {exc}") from exc
