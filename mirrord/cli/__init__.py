"""The commands: arguments in, exit code and tables out. Each imports what it needs when it runs."""

import faulthandler
import gc

import typer

from mirrord.cli.check import check
from mirrord.cli.demo import demo
from mirrord.cli.explain import explain
from mirrord.cli.once import once
from mirrord.cli.parked import parked
from mirrord.cli.plan import plan
from mirrord.cli.refresh import refresh
from mirrord.cli.release import release
from mirrord.cli.retry import retry
from mirrord.cli.run import run
from mirrord.cli.sandbox import sandbox
from mirrord.cli.status import status

app = typer.Typer(
    name="mirrord",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Keeps a Qiniu Kodo mirror bucket in step with its origin.",
)
for command in (run, once, plan, check, status, explain, refresh, parked, retry, release, sandbox, demo):
    app.command()(command)


@app.callback(invoke_without_command=True)
def _mirrord(*, version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    if version:
        from mirrord import __version__

        typer.echo(f"mirrord {__version__}")
        raise typer.Exit


def main() -> None:
    """The program."""
    faulthandler.enable()  # a watchdog's SIGABRT leaves the stack in the journal
    gc.set_threshold(20_000, 20, 20)  # values flow and end, nearly none in circles: fewer looks, a tenth less time
    app()
