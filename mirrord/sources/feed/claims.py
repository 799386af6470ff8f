"""Values of somebody else's JSON to the fields of a mention; a value that cannot be one is None, never an exception."""

from mirrord.model.change import Rejection

_MOST_BYTES = 2**63 - 1
_ORDER_MOST = 200
_SHOWN = 200


def text_of(value: object) -> str | None:
    """Text that is not empty."""
    return value if isinstance(value, str) and value else None


def size_of(value: object) -> int | None:
    """A number of bytes. Some write 64-bit numbers as text, so that JavaScript does not round them."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    return value if type(value) is int and 0 <= value <= _MOST_BYTES else None


def etag_of(value: object) -> str | None:
    """Without quotes and `W/`."""
    text = text_of(value)
    if text is None:
        return None
    opaque = text.strip().removeprefix("W/")
    if len(opaque) >= 2 and opaque[0] == opaque[-1] == '"':
        opaque = opaque[1:-1]
    return opaque or None


def order_of(value: object) -> str | None:
    """Text to be compared as it is; None also for what is too long to be kept for every key."""
    text = text_of(value)
    return text if text is not None and text.isascii() and len(text) <= _ORDER_MOST else None


def rejection(name: object, reason: str) -> Rejection:
    """Of an entry that calls itself `name`, if it does."""
    text = text_of(name) or "(without a name)"
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    try:
        raw = shown.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can say
        raw = shown.encode("utf-8", "backslashreplace")
    return Rejection(name=raw.decode("utf-8", "backslashreplace"), reason=reason)
