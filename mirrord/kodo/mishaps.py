"""What a library raised in the middle of a call to its Silence and one line of text for people."""

import os
import re
import ssl

import aiohttp

from mirrord.model.attempt import Silence

_MOST = 200  # characters of a reason that is not our own
_ERRNO = re.compile(r"\[Errno -?\d+\] ")


class NotConnectedError(Exception):
    """There was no connection to ask over; the cause says why."""


class TooLongError(Exception):
    """A reply went on after as many bytes as are read."""

    def __init__(self, most: int) -> None:
        super().__init__(f"longer than {most} bytes")


def of_connecting(exc: BaseException | None, server: str, within_s: float) -> str:
    """Why there is no connection to `server`, perhaps by way of a proxy."""
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return f"the name {exc.host} cannot be resolved: {_reason(exc.os_error)}"
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return f"no connection to the proxy {exc.host}:{exc.port}: {_reason(exc.os_error)}"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        return f"TLS with {server} failed: {_tls(exc)}"
    match exc:
        case TimeoutError():
            why = f"not within {round(within_s, 2):g} s"
        case aiohttp.ClientConnectorError():
            why = _reason(exc.os_error)
        case aiohttp.ClientHttpProxyError():
            why = f"the proxy answered {exc.status}"
        case aiohttp.ServerDisconnectedError():
            why = "the proxy hung up"
        case aiohttp.ClientResponseError():
            why = "the proxy does not speak HTTP"
        case UnicodeError():  # of IDNA
            why = "that is not the name of a server"
        case _:
            why = _reason(exc)
    return f"no connection to {server}: {why}"


def of_asking(exc: BaseException, server: str, within_s: float, *, answering: bool) -> tuple[Silence, str]:
    """What ended a call to `server` that had been sent; `answering` is whether the head of an answer had come."""
    if isinstance(exc, aiohttp.InvalidURL):
        return Silence.CONNECT_FAILED, f"{server} is not the address of a server"
    if isinstance(exc, TimeoutError):
        part = "the whole answer" if answering else "an answer"
        return Silence.TIMED_OUT, f"{server} did not give {part} within {round(within_s, 2):g} s"
    match exc:
        case TooLongError():
            said = f"the reply of {server} is {exc}"
        case aiohttp.ClientResponseError():
            said = f"what {server} answered is not HTTP"
        case _ if answering:
            said = f"{server} broke off in mid-reply"
        case aiohttp.ServerDisconnectedError():
            said = f"{server} hung up without an answer"
        case _:
            said = f"{server} gave no answer: {_reason(exc)}"
    return Silence.BROKEN, said


def _reason(exc: BaseException | None) -> str:
    match exc:
        case ssl.SSLError(reason=str(reason)):
            return reason.replace("_", " ").lower()
        case OSError(errno=int(number), strerror=text) if number > 0:
            return _line(os.strerror(number) if number < 1000 else text)
        case OSError(strerror=str(text)):  # of a name: its numbers are the resolver's own
            return _line(text)
        case _:
            return _line(str(exc or "")) or type(exc).__name__


def _tls(exc: aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError) -> str:
    cause = exc.certificate_error if isinstance(exc, aiohttp.ClientConnectorCertificateError) else exc.os_error
    return _line(cause.verify_message) if isinstance(cause, ssl.SSLCertVerificationError) else _reason(cause)


def _line(text: str | None) -> str:
    written = " ".join(_ERRNO.sub("", text or "").split())[:_MOST].rstrip(".")
    return written[:1].lower() + written[1:] if written[1:2].islower() else written
