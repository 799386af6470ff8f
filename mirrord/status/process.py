"""/proc/self in, what this process uses of the machine out."""

import os
import resource
from dataclasses import dataclass
from pathlib import Path

OWN = Path("/proc/self")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """As the kernel counts it."""

    resident_bytes: int
    virtual_bytes: int
    cpu_s: float
    """User and system time together."""
    threads: int
    open_fds: int
    max_fds: float
    """The soft limit; infinite when there is none."""


def usage(directory: Path = OWN) -> Usage | None:
    """None where there is no such thing, or no descriptor left to read it with."""
    try:
        fields = (directory / "stat").read_text().rpartition(")")[2].split()  # what is before may hold anything
        virtual, resident, *_ = (directory / "statm").read_text().split()
        open_fds = len(os.listdir(directory / "fd")) - 1  # one of them is for the listing itself
    except OSError:
        return None
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    page = resource.getpagesize()
    return Usage(
        resident_bytes=int(resident) * page,
        virtual_bytes=int(virtual) * page,
        cpu_s=(int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),  # proc(5): utime, stime
        threads=int(fields[17]),
        open_fds=open_fds,
        max_fds=float("inf") if most == resource.RLIM_INFINITY else most,
    )
