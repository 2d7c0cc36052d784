"""A function as if a check in it had been decided when it was written: the code of a tree without the mechanism.

``if self._edge.active: A`` folded with ``{"self._edge.active": False}`` is a function in which that line and A are
not there. It is made from the function's own source, so it cannot drift from it: a check that is not found there any
more is an error, not a benchmark of something else.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping
from types import CodeType

from benchmarks.processes import BenchmarkError


def folded(
    function: Callable, tests: Mapping[str, bool], drop: Collection[str] = (), none: Collection[str] = ()
) -> CodeType:
    """The code of ``function`` with ``tests`` (as ``ast.unparse`` writes them) decided.

    ``drop``: names whose assignments go too, because only the tests read them. ``none``: names that are None from
    the start, whatever was assigned, or entered by ``with``, before.
    """
    plain = inspect.unwrap(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(plain)))
    folding = _Folding(tests, drop, none)
    folding.visit(tree)
    if folding.wanted:
        missing = ", ".join(sorted(folding.wanted))
        raise BenchmarkError(f"{plain.__qualname__} has no {missing} any more: tell benchmarks/off_mechanisms.py")
    tree.body[0].decorator_list = []
    # Names of the scope around it stay such names: ``super()`` needs one.
    around = ast.parse(f"def around({', '.join(plain.__code__.co_freevars)}): pass")
    around.body[0].body = tree.body
    compiled = compile(ast.fix_missing_locations(around), inspect.getfile(plain), "exec", dont_inherit=True)
    return _inner(_inner(compiled, "around"), plain.__name__)


def _inner(code: CodeType, name: str) -> CodeType:
    return next(found for found in code.co_consts if isinstance(found, CodeType) and found.co_name == name)


class _Folding(ast.NodeTransformer):
    def __init__(self, tests: Mapping[str, bool], drop: Collection[str], none: Collection[str]) -> None:
        self._tests, self._drop, self._none = tests, drop, none
        self.wanted = {*tests, *drop, *none}

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        holds = self._decided(node.test)
        self.generic_visit(node)
        if holds is None:
            node.body = node.body or [ast.Pass()]
            return node
        return node.body if holds else node.orelse

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        holds = self._decided(node.test)
        self.generic_visit(node)
        if holds is None:
            return node
        return node.body if holds else node.orelse

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        name = ast.unparse(node.targets[0])
        if name in self._drop:
            self.wanted.discard(name)
            return None
        if name in self._none:
            self.wanted.discard(name)
            node.value = ast.Constant(None)
        return self.generic_visit(node)

    def visit_With(self, node: ast.With) -> ast.AST | list[ast.stmt]:
        self.generic_visit(node)
        entered = node.items[0].optional_vars
        if entered is None or ast.unparse(entered) not in self._none:
            return node
        self.wanted.discard(ast.unparse(entered))
        return [ast.Assign([entered], ast.Constant(None)), *node.body]

    def _decided(self, test: ast.expr) -> bool | None:
        text = ast.unparse(test)
        self.wanted.discard(text)
        return self._tests.get(text)
