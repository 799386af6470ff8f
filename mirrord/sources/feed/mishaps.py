"""What a library raised in the middle of a request to one plain sentence; nothing secret is in it."""

import os
import re
import ssl
from datetime import timedelta

import aiohttp

_REASON_MOST = 200  # characters of what is not our own
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


class Unreachable(Exception):
    """There is no answer that a feed could be read from; the next attempt may fare better."""

    def __init__(
        self,
        sentence: str,
        *,
        status: int | None = None,
        retry_after: timedelta | None = None,
        idle: bool = False,
        cut: bool = False,
    ) -> None:
        """An answer that had begun brought nothing more for as long as was waited (`idle`), or broke off (`cut`)."""
        super().__init__(sentence)
        self.idle = idle
        self.cut = cut
        self.sentence = sentence
        self.status = status
        """Of the answer; None: there was none, or none that could be read to its end."""
        self.retry_after = retry_after
        """How long the server asks to be left alone, at most an hour."""

    @property
    def gone(self) -> bool:
        return self.status == 410

    @property
    def missing(self) -> bool:
        return self.status == 404

    @property
    def refused(self) -> bool:
        return self.status in {401, 403}


FAILURES = (aiohttp.ClientError, OSError, ValueError)
"""What aiohttp raises when the network fails; TimeoutError is an OSError, UnicodeError (of a name) a ValueError."""


def of_asking(exc: Exception, server: str, *, connect: timedelta, idle: timedelta) -> Unreachable:
    """No head of an answer came from `server`; `exc` is one of FAILURES."""
    match exc:
        case aiohttp.ConnectionTimeoutError():
            said = f"no connection to {server} within {span(connect)}"
        case TimeoutError() if not isinstance(exc, aiohttp.ClientConnectorError):
            said = f"nothing came from {server} for {span(idle)}"
        case aiohttp.ClientConnectorDNSError():
            said = f"the name {exc.host} cannot be resolved: {_reason(exc.os_error)}"
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            said = f"TLS with {server} failed: {_tls(exc)}"
        case aiohttp.ClientProxyConnectionError():
            said = f"no connection to the proxy {exc.host}:{exc.port}: {_reason(exc.os_error)}"
        case aiohttp.ClientConnectorError():
            said = f"no connection to {server}: {_reason(exc.os_error)}"
        case aiohttp.ClientHttpProxyError():
            said = f"no connection to {server}: the proxy answers {exc.status}"
        case aiohttp.ClientResponseError():
            said = f"what {server} answers is not HTTP"
        case aiohttp.ServerDisconnectedError():
            said = f"{server} hung up without an answer"
        case aiohttp.ClientOSError():
            said = f"{server} broke off without an answer: {_reason(exc)}"
        case _:  # a header or a name that cannot be written; its text would hold the value
            said = f"{server} cannot be asked: its name, or a header meant for it, has characters that it may not have"
    return Unreachable(said)


def of_reading(exc: Exception, server: str, *, idle: timedelta) -> Unreachable:
    """The body from `server` did not end as it should; `exc` is one of FAILURES."""
    if isinstance(exc, TimeoutError):
        return Unreachable(f"nothing came from {server} for {span(idle)}", idle=True)
    return Unreachable(f"{server} broke off in mid-answer", cut=True)


def of_dripping(server: str, whole: timedelta) -> Unreachable:
    return Unreachable(f"the answer of {server} was not over after {span(whole)}")


def span(time: timedelta) -> str:
    """As a person would say it."""
    seconds = round(time.total_seconds(), 2)
    return f"{seconds / 60:g} min" if seconds >= 120 and seconds % 60 == 0 else f"{seconds:g} s"


def _tls(exc: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    cause = exc.certificate_error if isinstance(exc, aiohttp.ClientConnectorCertificateError) else exc.os_error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {_line(cause.verify_message)}"
    return _reason(cause)


def _reason(exc: BaseException) -> str:
    match exc:
        case ssl.SSLError(reason=str(reason)):
            return reason.replace("_", " ").lower()
        case OSError(errno=int(number)) if 0 < number < 1000:
            return _line(os.strerror(number))
        case OSError(strerror=str(text)):  # of a name: the resolver has numbers of its own
            return _line(text)
        case _:
            return _line(str(exc)) or "without a reason"


def _line(text: str) -> str:
    written = " ".join(_ERRNO.sub("", text).split())[:_REASON_MOST].rstrip(".")
    return written[:1].lower() + written[1:] if written[1:2].islower() else written
