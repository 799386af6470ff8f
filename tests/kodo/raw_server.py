"""Servers that say any bytes, over TCP or TLS, and a proxy: each in threads of its own, gone after its block."""

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

OK = b"HTTP/1.1 200 OK\r\nX-Reqid: abc\r\nContent-Length: 0\r\n\r\n"
CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"

Speak = Callable[[socket.socket, threading.Event], None]
"""Answers the request that was read from a connection; the event comes when the test is over."""


class Server:
    """Reads requests, remembers their heads and lets `speak` answer."""

    def __init__(self, speak: Speak, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[str] = []
        self._speak = speak
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._tls = tls
        self._threads = [threading.Thread(target=self._accept, name="raw server")]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=[connection], name="raw connection")
                thread.start()
                self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with connection, suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while head := _read_head(connection):
                    self.heads.append(head)
                    self._speak(connection, self._over)


def _read_head(connection: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(4096)
        if not more:
            return ""
        received += more
    return received.decode("latin-1")


@contextmanager
def serving(speak: Speak, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(speak, tls)
    try:
        yield server
    finally:
        server.close()


def saying(answer: bytes, *, then_close: bool = False) -> Speak:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(answer)
        if then_close:
            connection.close()

    return speak


def silent(_: socket.socket, over: threading.Event) -> None:
    over.wait()


class Proxy(Server):
    """Connects to what CONNECT names, or to `to` whatever it names; answers anything else with OK itself."""

    def __init__(self, to: str | None = None) -> None:
        self._to = to
        super().__init__(self._forward)

    def _forward(self, connection: socket.socket, over: threading.Event) -> None:
        method, target, _ = self.heads[-1].split(" ", 2)
        if method != "CONNECT":
            connection.sendall(OK)
            return
        named = urlsplit(self._to or f"//{target}")
        with socket.create_connection((named.hostname, named.port), 20) as beyond:
            connection.sendall(CONNECTED)
            back = threading.Thread(target=_pass_on, args=[beyond, connection], name="raw proxy")
            back.start()
            _pass_on(connection, beyond)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while received := source.recv(65536):
            sink.sendall(received)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxying(to: str | None = None) -> Iterator[Proxy]:
    proxy = Proxy(to)
    try:
        yield proxy
    finally:
        proxy.close()


def tls_for(directory: Path, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's side of TLS with a self-signed certificate for `name`, and the path of that certificate."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=test", "-addext", f"subjectAltName={name}", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    return tls, certificate
