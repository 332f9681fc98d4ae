"""Eight float64 side by side for compiled loops: `+`, `-` and `*` are of all eight at once, in the registers that the processor has for that.

The compiler finds no such instructions by itself in loops over eight cells: it unrolls them first. Each lane is what the same sum of single
numbers would be, on any processor.
"""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import extending, types
from numba.extending import models, overload, register_model

WIDTH = 8
intrinsic: Any = extending.intrinsic
_EIGHT = ir.VectorType(ir.DoubleType(), WIDTH)


class Lanes(types.Type):
    def __init__(self) -> None:
        super().__init__("Lanes")


_lanes = Lanes()


@register_model(Lanes)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _EIGHT)


@intrinsic
def load(typing: Any, rows: Any, row: Any) -> Any:
    """A row of float64 (n, 8)."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_place(context, builder, signature.args[0], *args), align=8)

    return _lanes(rows, types.uint64), emit


@intrinsic
def store(typing: Any, rows: Any, row: Any, x: Any) -> Any:
    """Into a row of float64 (n, 8)."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _place(context, builder, signature.args[0], *args[:2]), align=8)
        return context.get_dummy_value()

    return types.none(rows, types.uint64, _lanes), emit


@intrinsic
def eight(typing: Any, x: Any) -> Any:
    """One number in all lanes."""

    def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        none, number = ir.Constant(_EIGHT, ir.Undefined), ir.IntType(32)
        first = builder.insert_element(none, args[0], number(0))
        return builder.shuffle_vector(first, none, ir.Constant(ir.VectorType(number, WIDTH), [0] * WIDTH))

    return _lanes(types.float64), emit


def _place(context: Any, builder: Any, kind: Any, rows: Any, row: Any) -> Any:
    data = context.make_array(kind)(context, builder, rows).data
    return builder.bitcast(builder.gep(data, [builder.mul(row, row.type(WIDTH))]), _EIGHT.as_pointer())


def _define(sign: Any, instruction: str) -> None:
    @intrinsic
    def both(typing: Any, x: Any, y: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return getattr(builder, instruction)(*args)

        return _lanes(_lanes, _lanes), emit

    @overload(sign, strict=False)
    def _of(x: Any, y: Any) -> Any:
        return (lambda x, y: both(x, y)) if isinstance(x, Lanes) and isinstance(y, Lanes) else None


for _sign, _instruction in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
    _define(_sign, _instruction)
