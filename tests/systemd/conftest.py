"""One lab for all tests of a process, and the service in it as it was installed."""

import time
from collections.abc import Iterator

import pytest

from tests.systemd.lab import Lab, missing


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Booted, and mirrord is installed by its own command."""
    if reason := missing():
        pytest.skip(f"no lab: {reason}")
    began = time.monotonic()
    lab = Lab(tmp_path_factory.mktemp("lab"))
    try:
        lab.up()
        lab.sh("/opt/mirrord/bin/mirrord service install")
        print(f"a lab with mirrord in it took {time.monotonic() - began:.1f} s")
        yield lab
    finally:
        lab.down()


@pytest.fixture
def lab(machine: Lab) -> Lab:
    """The lab with an empty origin, settings and key filled in; neither drop-ins nor state of an earlier test."""
    machine.drop_in()
    machine.sh("rm -rf /srv/www/* /var/lib/mirrord /var/lib/private/mirrord /run/origin-shut")
    machine.configure()
    return machine
