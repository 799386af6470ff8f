"""Values as people type them: durations, sizes, addresses; and how an error says what would be accepted."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

A_DURATION: Final = 'a duration: "500ms", "30s", "15m", "1h30m", "7d", or a number of seconds'
A_SIZE: Final = 'a size: "4MiB", "10MB", "1GiB", or a number of bytes'
A_URL: Final = 'a URL such as "https://origin.example.com", without user, password, query or fragment'
A_FEED_URL: Final = 'a URL such as "https://origin.example.com/changes?filter=web", without user, password or fragment'
YES_OR_NO: Final = "true or false"
STAND_IN: Final = "-"
"""In the place of a secret that is not needed, or could not be read."""
WORD = r"^[A-Za-z0-9._-]{1,100}$"
PORT = r"([0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
ADDRESS = rf"^(([^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):{PORT})?$"
DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
SIZE = re.compile(r"(\d{1,18}) ?(B|[kK]B|[KMGT]i?B)?", re.ASCII)
LONGEST = timedelta(days=3650)
Loc = tuple[int | str, ...]


def duration(value: object) -> timedelta:
    """`"1h30m"`, or seconds as a number (as text, too: the environment has nothing else). Raises ValueError."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d+)?", value, re.ASCII):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST.total_seconds():
        return timedelta(seconds=value)
    if isinstance(value, str) and 0 < len(value) < 32 and (parts := DURATION.fullmatch(value)):
        days, hours, minutes, seconds, ms = (min(int(part or 0), 10**12) for part in parts.groups())
        total_ms = ms + 1000 * (seconds + 60 * (minutes + 60 * (hours + 24 * days)))
        if total_ms <= LONGEST.total_seconds() * 1000:
            return timedelta(milliseconds=total_ms)
    raise ValueError(f"{A_DURATION}; neither negative nor above 3650d")


def size(value: object) -> int:
    """Bytes; `MB` counts in thousands, `MiB` in 1024s. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not (parts := SIZE.fullmatch(value)):
        raise ValueError(A_SIZE)
    unit = (parts[2] or "B").upper()
    base = 1024 if "I" in unit else 1000
    return int(parts[1]) * int(base ** "BKMGT".index(unit[0]))


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("boolean", "a boolean is not a number")
    return value


def _http(value: str) -> SplitResult | None:
    """None: it is no URL of http or https."""
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return None
    return parts if usable else None


def _url(value: str) -> str:
    if _http(value) is None or re.search(r"[@?#\\]|[^!-~]", value):
        raise ValueError(A_URL)
    return value.rstrip("/")


def _feed_url(value: str) -> str:
    parts = _http(value)
    if parts is None or "@" in parts.netloc or re.search(r"[#\\]|[^!-~]", value):
        raise ValueError(A_FEED_URL)
    return value


def need(sentence: str, default: Any = ..., **bounds: Any) -> Any:
    """A field; `sentence` is what an error says would be accepted."""
    return Field(default, description=sentence, validate_default=True, **bounds)


Duration = Annotated[timedelta, BeforeValidator(duration), Field(description=A_DURATION)]
Positive = Annotated[Duration, Field(gt=timedelta(0), description=f"{A_DURATION}; above 0")]
Size = Annotated[int, BeforeValidator(size), Field(description=A_SIZE)]
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Url = Annotated[str, AfterValidator(_url)]
FeedUrl = Annotated[str, AfterValidator(_feed_url)]


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, defer_build=True)
