"""What a request shows to whether it may post to a hook."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class HookAccess:
    """Who may post: whoever shows everything that is set here."""

    token: str | None = field(default=None, repr=False)
    """As `Authorization: Bearer <token>`."""
    hmac_secret: str | None = field(default=None, repr=False)
    """What the body's HMAC-SHA256 is made with."""
    signature_header: str = "X-Hub-Signature-256"
    """Where that is, as hexadecimal digits, with or without `sha256=` before them."""
    open: bool = False
    """Whether everybody may, when neither is set."""

    def __post_init__(self) -> None:
        if not (self.token or self.hmac_secret or self.open):
            raise ValueError("a hook that is not open needs a token or a secret")


def token_fault(access: HookAccess, headers: Mapping[str, str]) -> str | None:
    """What is wrong with the token; None: nothing. Names of headers are lower-case."""
    if not access.token:
        return None
    scheme, _, given = headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() != "bearer":
        return "no bearer token was sent"
    same = hmac.compare_digest(given.strip().encode("latin-1", "replace"), access.token.encode())
    return None if same else "the bearer token is another one"


def signature_fault(access: HookAccess, headers: Mapping[str, str], body: bytes) -> str | None:
    """What is wrong with the signature; None: nothing. Names of headers are lower-case."""
    if not access.hmac_secret:
        return None
    given = headers.get(access.signature_header.lower(), "").strip().lower().removeprefix("sha256=")
    if not given:
        return f"no {access.signature_header} was sent"
    right = hmac.new(access.hmac_secret.encode(), body, hashlib.sha256).hexdigest()
    same = hmac.compare_digest(given.encode("latin-1", "replace"), right.encode())
    return None if same else f"the {access.signature_header} is not that of this body"
