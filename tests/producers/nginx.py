"""nginx over a folder: files with ETag and Last-Modified as it makes them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.producers.process import LOOPBACK, Process, free_port, running

_CONFIGURATION = """\
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/nginx-errors.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    types {{ application/xml xml; application/gzip gz; application/jsonl jsonl; text/html html; image/jpeg jpg; }}
    default_type application/octet-stream;
    server {{
        listen {host}:{port};
        root {root};
        location = /.well-known/resourcesync {{ default_type application/xml; }}
    }}
}}
"""


@contextmanager
def running_nginx(root: Path, folder: Path) -> Iterator[tuple[str, Process]]:
    """Serves what is below `root`; its own files are in `folder`. Yields its URL, without a slash at the end."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    folder.mkdir()
    port = free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder, root=root, host=LOOPBACK, port=port))
    errors = folder / "nginx-errors.log"
    command = [program, "-p", str(folder), "-c", str(configuration), "-e", str(errors)]
    with running(Process(command, errors, port=port)) as process:
        yield f"http://{LOOPBACK}:{port}", process
