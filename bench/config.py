"""Where things are to a settings file for mirrord, as a benchmark needs it."""

import json
from pathlib import Path


def write_config(  # one value for each thing that a benchmark varies
    file: Path, *, tree: Path, journal: Path, url: str, first_run: str, settle: str = "500ms"
) -> Path:
    """Write `file` and return it; every host is pinned to `url`."""
    hosts = "\n".join(f"{host} = {json.dumps(url)}" for host in ("uc", "io", "rs", "rsf", "api"))
    file.write_text(f"""\
[kodo]
access_key = "{ACCESS_KEY}"
secret_key = "{SECRET_KEY}"
[kodo.hosts]
{hosts}
[journal]
url = {json.dumps(f"sqlite:///{journal}")}
[log]
format = "json"
[status]
listen = ""
[[mirror]]
name = "bench"
bucket = "{BUCKET}"
first_run = "{first_run}"
verify = "off"
[mirror.source]
kind = "directory"
path = {json.dumps(str(tree))}
settle = "{settle}"
[mirror.pace]
concurrency = {CONCURRENCY}
""")
    file.chmod(0o600)
    return file


ACCESS_KEY = "bench-access-key"
SECRET_KEY = "bench-secret-key"
BUCKET = "bench-bucket"
CONCURRENCY = 64
