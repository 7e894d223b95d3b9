"""How many zero bits does a word end with?"""

from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic


@intrinsic
def trailing_zeros(typingctx: object, word: object) -> Any:
    """The number of zero bits below the lowest one bit of a uint64."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], cgutils.false_bit)

    return types.uint64(types.uint64), generate
