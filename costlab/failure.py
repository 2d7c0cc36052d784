"""The one kind of error a person at the command line is told about: one clear line, and an exit code.

Failure                what happened and what to do about it
├── StackError         a stack cannot be started, reached or stopped (costlab/stack)
├── LoadError          load cannot be generated (costlab/lab/load)
└── ...                each part of costlab derives its own
"""


class Failure(Exception):
    """Something a person can understand and mend; the message is one line. ``exit_code`` as in costlab/cli."""

    exit_code = 1
