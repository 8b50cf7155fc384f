"""A function compiled for lanes, and how it passes to another process: without the compiler of lanes."""

import pickle
from dataclasses import dataclass
from typing import Any

import llvmlite.binding as llvm
from numba.core.registry import cpu_target

from .mathematics import make_known


@dataclass(frozen=True)
class LaneFunction:
    """f compiled for lanes.

    `address` is that of `intp run(x, tile, index, points, values, progress, args)` in numba's calling convention: it
    evaluates the sweep table from the point progress[0] on, and returns the point that a bundle whose lanes disagreed
    starts at, or the number of points. Where f raises, progress[0] says in which bundle. It fills `tile` itself.
    Of an f of many values, see `compile_lanes_of_outputs`. Valid as long as this object lives. `vectorised` names the
    functions taken from the vector mathematics library.
    """

    address: int
    width: int
    vectorised: tuple[str, ...]
    library: Any
    symbol: str
    keepalive: Any = None

    def frozen(self) -> bytes | None:
        """Return it as bytes, for `thaw_lanes` in another process; None where it refers to addresses of this one."""
        if getattr(self.library, "has_dynamic_globals", True):
            return None
        needed = [f.name for f in self.library._final_module.functions if f.is_declaration]
        needed += [v.name for v in self.library._final_module.global_variables if v.is_declaration]
        needed = [name for name in needed if not name.startswith("llvm.")]
        kept = self.library.serialize_using_object_code(), self.symbol, self.width, self.vectorised, needed
        return pickle.dumps(kept)


def thaw_lanes(frozen: bytes) -> LaneFunction | None:
    """Return what was `LaneFunction.frozen` in another process with the same surroundings; None where it cannot be."""
    state, symbol, width, names, needed = pickle.loads(frozen)
    context = cpu_target.target_context
    context.refresh()
    for name in names:
        make_known(name, width)
    if not all(llvm.address_of_symbol(name) for name in needed):  # to load it all the same would end the process
        return None
    library = context.codegen().unserialize_library(state)
    return LaneFunction(library.get_pointer_to_function(symbol), width, names, library, symbol)
