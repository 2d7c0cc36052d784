"""The ``costlab`` command. Thin: each group of commands is one file, and the work is done elsewhere.

Exit codes: 0 done, 1 it failed, 2 the command line is wrong, 3 it cannot run on this machine, 130 interrupted.
"""

import sys

import typer

from costlab.cli import chaos, config, flags, lab, rollout, stack, top, trace
from costlab.failure import Failure

app = typer.Typer(
    name="costlab",
    help="What is this backend pattern worth? Measured on a real stack, with an interval and a monthly bill.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (stack, flags, rollout, config, chaos, top, trace, lab):
    group.register(app)


def main() -> None:
    """Run the command line; an expected failure is one line on stderr, never a traceback."""
    try:
        app()
    except Failure as failure:
        print(f"costlab: {failure}", file=sys.stderr)  # noqa: T201 - the command's own error output
        raise SystemExit(failure.exit_code) from None
    except KeyboardInterrupt:
        print("costlab: interrupted", file=sys.stderr)  # noqa: T201
        raise SystemExit(130) from None
