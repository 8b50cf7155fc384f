"""Hessians (to come)."""

from __future__ import annotations

from typing import Any


class Hessian:
    """To come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError
