"""The command line ``reelsift``: one file per command, imported when it is called."""

from __future__ import annotations

import sys

import typer

from orchestrator import __version__
from orchestrator.api.client import ClientError
from orchestrator.cli import exits
from orchestrator.cli.alerts import app as alerts
from orchestrator.cli.analyze import analyze
from orchestrator.cli.backup import backup, restore
from orchestrator.cli.capacity import capacity
from orchestrator.cli.cleanup import cleanup
from orchestrator.cli.doctor import doctor
from orchestrator.cli.export import export
from orchestrator.cli.health import health
from orchestrator.cli.jobs import app as jobs
from orchestrator.cli.models import app as models
from orchestrator.cli.report import report
from orchestrator.cli.search import search
from orchestrator.cli.serve import serve
from orchestrator.cli.sessions import app as sessions
from orchestrator.cli.stats import stats
from orchestrator.cli.status import status
from orchestrator.cli.steering import drain, maintenance, reload
from orchestrator.errors import ReelsiftError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Turn video into timed segments while it is still being decoded.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage, 3 done but the media broke (partial), 130 interrupted.",
)
app.command()(analyze)
app.command()(serve)
app.add_typer(jobs, name="jobs")
app.command()(search)
app.command()(export)
app.command()(health)
app.command()(status)
app.command()(stats)
app.add_typer(sessions, name="sessions")
app.add_typer(alerts, name="alerts")
app.command()(report)
app.command()(capacity)
app.command()(maintenance)
app.command()(drain)
app.command()(reload)
app.command()(backup)
app.command()(restore)
app.command()(cleanup)
app.command()(doctor)
app.add_typer(models, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"reelsift {__version__}")
        raise typer.Exit


@app.callback()
def reelsift(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show the version."),
) -> None:
    """Options of every command."""


def main() -> None:
    """Run the command line and exit."""
    try:
        app()
    except (ClientError, ReelsiftError) as error:
        sys.exit(exits.fail(error))
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output left; Python would complain once more while flushing at exit.
        sys.stdout = None
        sys.exit(exits.FAILED)


if __name__ == "__main__":
    main()
