"""The repository as data, for tests that hold registries and reality together."""

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("costlab", "gateway", "services")


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of ours by dotted name."""
    return {
        _dotted(path): ast.parse(path.read_text()) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
    }


@cache
def text(module: str) -> str:
    """The source of a module."""
    path = ROOT / Path(*module.split("."))
    file = path.with_suffix(".py")
    return (file if file.exists() else path / "__init__.py").read_text()


@cache
def imports(tree: ast.Module) -> set[str]:
    """Dotted names a module imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@cache
def strings(tree: ast.Module) -> set[str]:
    """Every string literal of a module, docstrings not counted."""
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    }


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
