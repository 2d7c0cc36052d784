"""Flags of which one can be changed, and whoever listens is told."""

from collections.abc import Callable


class Switch:
    """``fixed`` but for ``name``, which ``set`` changes."""

    def __init__(self, fixed, name: str, value: str) -> None:
        self._fixed = fixed
        self._name = name
        self._value = value
        self._listeners: list[Callable[[], None]] = []

    def __getitem__(self, name: str) -> object:
        return self._value if name == self._name else self._fixed[name]

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def set(self, value: str) -> None:
        self._value = value
        for listener in self._listeners:
            listener()
