"""A process that has imported all that `mirrord` uses, and forks at every request of tests/programs.py.

When it forks it has one thread, no loop, no files of its own and no handlers of signals: a child is what
`python -m MODULE` is after its imports.
"""

import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass, field

import mirrord

MOST_BYTES = 2**20
"""Of a request."""


@dataclass(frozen=True)
class Wanted:
    """What a child is to become."""

    module: str
    arguments: list[str]
    environment: dict[str, str]
    directory: str


@dataclass
class Zygote:
    """Forks for whoever has the other end of `requests`; when that is closed it ends, and its children with it."""

    requests: socket.socket
    _children: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By pidfd: the pid, and where to tell how it ended."""

    def serve(self) -> Wanted | None:
        """In a child: what it is to become. In the zygote itself, at the end: None."""
        while True:
            ready, _, _ = select.select([self.requests, *self._children], [], [])
            for child in self._children.keys() & ready:
                self._reap(child)
            if self.requests in ready:
                message, given, _, _ = socket.recv_fds(self.requests, MOST_BYTES, 3)
                if not message:
                    return self._end()
                wanted = self._fork(message, given)
                if wanted is not None:
                    return wanted

    def _fork(self, message: bytes, given: list[int]) -> Wanted | None:
        """In the child: what it is to become."""
        out, err, ending = given
        pid = os.fork()
        if pid == 0:
            os.dup2(out, 1)
            os.dup2(err, 2)
            self.requests.detach()
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            return Wanted(**json.loads(message))
        os.close(out)
        os.close(err)
        child = os.pidfd_open(pid)
        self._children[child] = pid, ending
        socket.send_fds(self.requests, [b"forked"], [child])
        return None

    def _reap(self, child: int) -> None:
        pid, ending = self._children.pop(child)
        _, status = os.waitpid(pid, 0)
        os.write(ending, str(os.waitstatus_to_exitcode(status)).encode())
        os.close(ending)
        os.close(child)

    def _end(self) -> None:
        for child in self._children:
            signal.pidfd_send_signal(child, signal.SIGKILL)


def import_everything() -> None:
    for module in pkgutil.walk_packages(mirrord.__path__, "mirrord."):
        if module.name != "mirrord.__main__" and ".migrations." not in module.name:  # these are run, not imported
            importlib.import_module(module.name)


def become(wanted: Wanted) -> None:
    """Run the module as `python -m` does; what it raises ends this interpreter as it would end its own."""
    os.environ.clear()
    os.environ.update(wanted.environment)
    time.tzset()
    os.chdir(wanted.directory)
    sys.argv[1:] = wanted.arguments
    runpy.run_module(wanted.module, run_name="__main__", alter_sys=True)


def main() -> None:
    import_everything()
    gc.collect()
    gc.freeze()  # what a child shares, its collections need not look at, and so copy
    taken = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the tests to take
    wanted = Zygote(socket.socket(fileno=int(sys.argv[1]))).serve()
    if wanted is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, taken)
        become(wanted)


if __name__ == "__main__":
    main()
