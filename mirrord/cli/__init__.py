"""The commands: arguments in, exit code and tables out. Each imports what it needs when it runs."""

import faulthandler
import gc
import io
import sys

import typer

from mirrord.cli.check import check
from mirrord.cli.demo import demo
from mirrord.cli.examples import put_into
from mirrord.cli.explain import explain
from mirrord.cli.journal import journal_app
from mirrord.cli.once import once
from mirrord.cli.parked import parked
from mirrord.cli.plan import plan
from mirrord.cli.refresh import refresh
from mirrord.cli.release import release
from mirrord.cli.reload import reload
from mirrord.cli.retry import retry
from mirrord.cli.run import run
from mirrord.cli.sandbox import sandbox
from mirrord.cli.service import service
from mirrord.cli.status import status

app = typer.Typer(
    name="mirrord",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: 50 ms sooner, and as wide as everywhere
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps a Qiniu Kodo mirror bucket in step with its origin.",
)
for command in (run, once, plan, check, status, explain, refresh, parked, retry, release, reload, sandbox, demo):
    app.command()(command)
app.add_typer(service)
app.add_typer(journal_app)


@app.callback(invoke_without_command=True)
def _mirrord(*, version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from mirrord import __version__

        typer.echo(f"mirrord {__version__}")
        raise typer.Exit


put_into(app)


def main() -> None:
    """The program."""
    faulthandler.enable()  # a watchdog's SIGABRT leaves the stack in the journal
    gc.set_threshold(20_000, 20, 20)  # values flow and end, nearly none in circles: fewer looks, a tenth less time
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.encoding.lower() != "utf-8":
        sys.stdout.reconfigure(errors="backslashreplace")  # a key that the locale cannot write is still told
    app(prog_name="mirrord")  # also as `python -m mirrord`: what completes asks for it by that name
