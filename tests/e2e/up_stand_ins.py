"""``costlab up`` as a person runs it, on the stand-ins: up_stand_ins.py STATE TOPOLOGY."""

import os
import sys
from pathlib import Path

from costlab.cli import main, stack
from costlab.stack.local import LocalStack

state, topology = map(Path, sys.argv[1:])
stack.open_stack = lambda _target, **_options: LocalStack(state, os.environ, topology)
sys.argv[1:] = ["up"]
main()
