"""The ``costlab`` command. Thin: each group of commands is one file, and the work is done elsewhere.

Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 3 it cannot run on this machine, 130 interrupted.
"""

import sys
from importlib import import_module

import typer

from costlab.failure import Failure

# The commands of each file.
FILES = {
    "stack": ("up", "down", "restart", "status", "logs", "doctor"),
    "flags": ("flags",),
    "rollout": ("rollout",),
    "config": ("config",),
    "chaos": ("chaos",),
    "top": ("top",),
    "trace": ("trace",),
    "lab": ("run", "new-day", "demo", "report", "price", "days", "compare"),
}


def application(command: str = "") -> typer.Typer:
    """The command line. Of ``command`` only the file that has it is loaded: together they take a second or two."""
    app = typer.Typer(
        name="costlab",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_costlab)
    for file in [file for file, commands in FILES.items() if command in commands] or FILES:
        import_module(f"costlab.cli.{file}").register(app)
    return app


def _costlab() -> None:
    """What is this backend pattern worth? Measured on a real stack, with an interval and a monthly bill."""


def main() -> None:
    """Run the command line; an expected failure is one line on stderr, never a traceback."""
    try:
        application(next((word for word in sys.argv[1:] if not word.startswith("-")), ""))()
    except Failure as failure:
        print(f"costlab: {failure}", file=sys.stderr)  # noqa: T201 - the command's own error output
        raise SystemExit(failure.exit_code) from None
    except KeyboardInterrupt:
        print("costlab: interrupted", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
