"""A private systemd on a throw-away overlay of this machine, with mirrord, an origin and a sandbox in it.

Two tools make it, `sdlab` and `accept.sh`: in $MIRRORD_LAB, or in `shared/tools` beside the checkout or above it.
"""

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

TREE = Path(__file__).parent.parent.parent
SECRET_KEY = "s3cr3t-of-the-lab"
PATIENCE_S = 20.0
_PYTHON = Path("/usr/bin/python3")
_LEVELS_ABOVE = 3
_SETTINGS = """\
{first}
[kodo]
access_key = "lab-access-key"
[kodo.hosts]
uc = "http://127.0.0.1:9471"
io = "http://127.0.0.1:9471"
rs = "http://127.0.0.1:9471"
rsf = "http://127.0.0.1:9471"
api = "http://127.0.0.1:9471"
fusion = "http://127.0.0.1:9471"
[[mirror]]
name = "www"
bucket = "www"
first_run = "refresh"
[mirror.source]
kind = "directory"
path = "{path}"
settle = "50ms"
rescan_every = "1d"
[mirror.retry]
first_delay = "50ms"
"""
_SITE = "lib/python{}.{}/site-packages".format(*sys.version_info[:2])


def tools() -> Path | None:
    """The folder of `sdlab` and `accept.sh`; None where there is none."""
    above = [TREE, *TREE.parents][: _LEVELS_ABOVE + 2]
    folders = (
        [Path(given)] if (given := os.environ.get("MIRRORD_LAB")) else [each / "shared" / "tools" for each in above]
    )
    return next((each for each in folders if (each / "sdlab").is_file() and (each / "accept.sh").is_file()), None)


def missing() -> str | None:
    """Why there can be no lab on this machine; None where there can."""
    if os.geteuid() != 0:
        return "a lab is root's"
    if tools() is None:
        return "no lab tools: no folder in $MIRRORD_LAB, and no shared/tools at or above the checkout"
    if not Path("/lib/systemd/systemd").exists():
        return "systemd is not installed here"
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "this kernel has no overlayfs"
    if " cgroup2 " not in Path("/proc/mounts").read_text():
        return "no cgroup2 is mounted here"
    if subprocess.run(["unshare", "--mount", "true"], check=False, capture_output=True).returncode != 0:
        return "mounting is not allowed here"
    if not _PYTHON.exists():
        return f"there is no {_PYTHON}"
    asked = [_PYTHON, "-c", "import sys, venv; print(*sys.version_info[:2], sep='.')"]
    theirs = subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()
    ours = "{}.{}".format(*sys.version_info[:2])
    return None if theirs == ours else f"{_PYTHON} is {theirs or 'without venv'} and our packages are for {ours}"


class Lab:
    def __init__(self, folder: Path) -> None:
        """`folder`, new and for us alone, shows as /lab inside."""
        found = tools()
        assert found is not None
        self._tool = found / "sdlab"
        self._environment = os.environ | {"SDLAB": f"/run/sdlab-{uuid4().hex[:12]}", "SDLAB_BIND": str(folder)}
        _put_program(folder / "program")
        shutil.copy(found / "accept.sh", folder)
        shutil.copy(Path(__file__).parent / "origin.py", folder)

    def up(self) -> None:
        """Booted, with the program in /opt/mirrord; an origin of /srv/www and a sandbox are at work."""
        self._do("up")
        self.sh("mkdir -p /opt/mirrord /srv/www && mount --bind /lab/program /opt/mirrord && rm -rf /etc/mirrord")
        self.run("origin", "/usr/bin/python3 /lab/origin.py /srv/www")
        self.run(
            "kodo",
            "/opt/mirrord/bin/mirrord sandbox --root /var/lib/sandbox --access-key lab-access-key"
            f" --secret-key {SECRET_KEY} --origin www=http://127.0.0.1:8000/",
        )
        for port in (8000, 9471):
            self.until(f"(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null")

    def down(self) -> None:
        self._do("down")

    def configure(
        self, *, path: str = "/srv/www", name: str = "config", key: str = "secret-key", first: str = "", last: str = ""
    ) -> None:
        """Settings and secret key, as an administrator fills them in; `first` goes before all sections."""
        settings = _SETTINGS.format(path=path, first=first) + last
        self.sh(f"cat >/etc/mirrord/{name}.toml; umask 077; echo -n {SECRET_KEY} >/etc/mirrord/{key}", stdin=settings)

    def run(self, unit: str, command: str) -> None:
        self.sh(f"systemd-run --quiet --unit={unit} {command}")

    def sh(self, script: str, stdin: str = "") -> str:
        """What a script said on stdout; it has to end with 0."""
        ended = self.ask(script, stdin)
        assert ended.returncode == 0, f"{script}\nended with {ended.returncode}:\n{ended.stdout}{ended.stderr}"
        return ended.stdout

    def ask(self, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._tool, "sh", "bash", "-c", script],
            env=self._environment, check=False, capture_output=True, text=True, timeout=100, input=stdin,
        )  # fmt: skip

    def write(self, path: str, text: str) -> None:
        """A file's new content; its mode stays."""
        self.sh(f"cat >{path}", stdin=text)

    def drop_in(self, text: str = "", unit: str = "mirrord.service") -> None:
        """Stop the unit and give it this drop-in, in place of another; without text none."""
        folder = f"/run/systemd/system/{unit}.d"
        self.sh(
            f"systemctl stop '{unit}'; systemctl reset-failed '{unit}' 2>/dev/null;"
            f" [ ! -e {folder} ] || {{ rm -r {folder}; systemctl daemon-reload; }}"
        )
        if text:
            self.sh(f"mkdir -p {folder}; cat >{folder}/test.conf; systemctl daemon-reload", stdin=text)

    def show(self, name: str, unit: str = "mirrord.service") -> str:
        """A property of the unit, as systemd has it now."""
        return self.sh(f"systemctl show -P {name} '{unit}'").strip()

    def journal(self, *matches: str) -> str:
        return self.sh(f"journalctl -q -o cat {' '.join(matches)}")

    def until(self, script: str, said: Callable[[str], bool] = lambda _: True) -> str:
        """Ask again until the script ends with 0 and has said so."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            ended = self.ask(script)
            if ended.returncode == 0 and said(ended.stdout):
                return ended.stdout
            assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {script}\n{ended.stdout}{ended.stderr}"

    def _do(self, verb: str) -> None:
        # A pipe would be held open by the machine that it leaves running.
        ended = subprocess.run([self._tool, verb], env=self._environment, check=False, stdout=subprocess.DEVNULL)
        assert ended.returncode == 0, f"sdlab {verb} ended with {ended.returncode}"


def _put_program(folder: Path) -> None:
    """What pip would make of the work tree, in a virtual environment of the system's own python."""
    subprocess.run([_PYTHON, "-m", "venv", "--without-pip", folder], check=True, timeout=60)
    site = folder / _SITE
    site.rmdir()
    source = Path(sys.prefix) / _SITE
    shutil.copytree(
        source, site, copy_function=_link, ignore=shutil.ignore_patterns("*mirrord*", "playwright", "mypy*")
    )
    shutil.copytree(TREE / "mirrord", site / "mirrord")
    included = tomllib.loads((TREE / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    for name, target in included["force-include"].items():
        if (TREE / name).is_dir():
            shutil.copytree(TREE / name, site / target)
        else:
            shutil.copy(TREE / name, site / target)
    script = folder / "bin" / "mirrord"
    script.write_text("#!/opt/mirrord/bin/python3\nfrom mirrord.cli import main\nmain()\n")
    script.chmod(0o755)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
