"""Debian's `syncthing` over the origin's folder: its own events of what it found changed there."""

import shutil
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.producers.files import Files
from tests.producers.process import LOOPBACK, PATIENCE_S, Process, free_port, running
from tests.producers.producer import toml
from tests.servers import running_origin

API_KEY = "syncthing-key-that-nobody-may-read"
FOLDER = "files"
_ALONE = {
    "globalAnnounceEnabled": "false",
    "localAnnounceEnabled": "false",
    "relaysEnabled": "false",
    "natEnabled": "false",
    "crashReportingEnabled": "false",
    "autoUpgradeIntervalH": "0",
    "urAccepted": "-1",
    "startBrowser": "false",
    "setLowPriority": "false",
}
"""It talks to nobody."""


class Syncthing:
    """Numbers of events begin at 1 again after every start, and what it told before is forgotten.

    Known of 1.19: what is created is told as `modified`, and folders are told of, too.
    """

    name = "syncthing"
    keeps_history = False
    takes_while_down = False

    def __init__(self, origin_url: str, files: Files, server: Process, url: str) -> None:
        self.origin_url = origin_url
        self.feed_url = f"{url}/rest/events/disk"
        self._url = url
        self._files = files
        self._server = server
        self._client = httpx.Client(trust_env=False, verify=False, headers={"X-API-Key": API_KEY}, timeout=PATIENCE_S)

    def settings(self) -> str:
        headers = {"X-API-Key": API_KEY}
        return toml(format="jsonl", preset="syncthing", url=self.feed_url, poll_every="200ms", headers=headers)

    def publish(self, key: str, content: bytes) -> None:
        self._files.put(key, content)
        self._scan(key)

    def remove(self, key: str) -> None:
        self._files.drop(key)
        self._scan(key)

    def start(self) -> None:
        self._server.start()
        self.until_ready()

    def stop(self) -> None:
        self._server.stop()

    def kill(self) -> None:
        self._server.kill()

    def until_ready(self) -> None:
        """Wait until it has looked at the whole folder once: before, it tells of nothing."""
        events = f"{self._url}/rest/events"
        since, deadline = 0, time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            for event in self._client.get(events, params={"since": since, "timeout": 1}).raise_for_status().json():
                since = event["id"]
                if event["type"] == "StateChanged" and event["data"]["to"] == "idle":
                    return
        raise AssertionError("syncthing has not looked at its folder")

    def close(self) -> None:
        self._client.close()

    def _scan(self, key: str) -> None:
        asked = {"folder": FOLDER, "sub": key}
        self._client.post(f"{self._url}/rest/db/scan", params=asked).raise_for_status()


@contextmanager
def syncthing(folder: Path) -> Iterator[Syncthing]:
    program = shutil.which("syncthing")
    if program is None:
        pytest.skip("syncthing is not installed: apt-get install syncthing")
    files = Files(folder / "www")
    home = folder / "home"
    port = free_port()
    generate = [program, "generate", "--home", str(home), "--no-default-folder"]
    subprocess.run(generate, check=True, capture_output=True)
    _configure(home / "config.xml", files.root, port)
    # as its own monitor would start it: else a kill hits the monitor alone, and what it watches lives on
    command = ["env", "STMONITORED=yes", program, "serve", "--home", str(home), "--no-browser", "--no-upgrade"]
    with (
        running_origin(files.root) as origin_url,
        running(Process(command, folder / "server.log", port=port)) as server,
    ):
        producer = Syncthing(origin_url, files, server, f"http://{LOOPBACK}:{port}")
        try:
            producer.until_ready()
            yield producer
        finally:
            producer.close()


def _configure(path: Path, root: Path, port: int) -> None:
    """One folder, no peers; it looks at the folder when it is asked to."""
    tree = ET.parse(path)
    configuration = tree.getroot()
    for name, text in {**_ALONE, "listenAddress": f"tcp://{LOOPBACK}:{free_port()}"}.items():
        _only(configuration, f"options/{name}").text = text
    _only(configuration, "gui/address").text = f"{LOOPBACK}:{port}"
    _only(configuration, "gui/apikey").text = API_KEY
    device = _only(configuration, "device").get("id", "")
    settings = {"id": FOLDER, "path": str(root), "type": "sendonly", "fsWatcherEnabled": "false"}
    ET.SubElement(ET.SubElement(configuration, "folder", settings), "device", {"id": device})
    tree.write(path)


def _only(above: ET.Element, path: str) -> ET.Element:
    found = above.find(path)
    assert found is not None, path
    return found
