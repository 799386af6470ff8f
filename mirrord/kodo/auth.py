"""A request's parts and a key pair to its Authorization header (Kodo API, "access token")."""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"

_PREFIX = "x-qiniu-"


@dataclass(frozen=True, slots=True)
class Credentials:
    """One account's key pair."""

    access_key: str
    secret_key: str = field(repr=False)


def qbox(credentials: Credentials, target: str, body: bytes = b"", content_type: str | None = None) -> str:
    """The whole header value, scheme `QBox`. `target` is path and `?query` exactly as they are sent.

    Covers neither method, host nor headers; the body only when it is a form.
    """
    signed = f"{target}\n".encode()
    if content_type == FORM:
        signed += body
    return _header("QBox", credentials, signed)


def qiniu(  # noqa: PLR0917 - what is signed, in the order in which it is signed
    credentials: Credentials,
    method: str,
    target: str,
    host: str,
    headers: Mapping[str, str],
    body: bytes = b"",
) -> str:
    """The whole header value, scheme `Qiniu`. `target` is path and `?query` exactly as they are sent.

    `host` is the Host header, with its port if it has one. Content-Type and X-Qiniu-* are taken from
    `headers`, in any case. The body counts for forms and JSON only: beyond them the SDKs disagree.
    """
    content_type = ""
    own: list[tuple[str, str]] = []
    for name, value in headers.items():
        lowered = name.lower()
        if lowered == "content-type":
            content_type = value
        elif lowered.startswith(_PREFIX) and lowered != _PREFIX:
            own.append(("-".join(part.capitalize() for part in lowered.split("-")), value))
    lines = [f"{method.upper()} {target}", f"Host: {host}"]
    if content_type:
        lines.append(f"Content-Type: {content_type}")
    lines += [f"{name}: {value}" for name, value in sorted(own)]
    signed = "\n".join([*lines, "", ""]).encode()
    if content_type in {FORM, JSON}:
        signed += body
    return _header("Qiniu", credentials, signed)


def qiniu_date(now: datetime) -> str:
    """The X-Qiniu-Date of a request signed at `now`; Kodo refuses it when 15 minutes off."""
    return now.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def same_token(left: str, right: str) -> bool:
    """Whether two header values are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(*(text.encode(errors="surrogateescape") for text in (left, right)))


def _header(scheme: str, credentials: Credentials, signed: bytes) -> str:
    signature = urlsafe_b64encode(hmac.digest(credentials.secret_key.encode(), signed, "sha1")).decode()
    return f"{scheme} {credentials.access_key}:{signature}"
