"""Which of eight rows may have a key below the horizon, and are all eight fit to be keyed?

Some sixty vector instructions for eight rows, written in LLVM's own terms: from the same loop compilers make code half
as fast, as they fear 512-bit registers. LLVM splits the vectors where a machine has smaller ones. The hash is halved
over two passes, because a processor overlaps the long chains of several groups of eight only while each is short.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from data_ops.kernels.hashing import M1, M2

ROWS = 8
LOG2_E = 1.4426950408889634
LARGEST_DECAY = 2.0**50  # beyond it neighbouring float64 keys are a quarter apart and the sample would be ties
WORD, FLOAT, LANE = ir.IntType(64), ir.DoubleType(), ir.IntType(32)
WORDS, FLOATS = ir.VectorType(WORD, ROWS), ir.VectorType(FLOAT, ROWS)


@intrinsic
def half_hashes(_context: Any, ids: Any, row: Any, s1: Any, s2: Any, halves: Any, slot: Any) -> Any:
    """Write the hashes of rows row .. row + 7 to halves[slot ..], but for their last mix64."""

    def build(context: Any, b: ir.IRBuilder, signature: Any, given: Any) -> Any:
        words = _load(
            b, _data(context, b, signature, given, 0), b.shl(given[1], WORD(1)), ir.VectorType(WORD, 2 * ROWS)
        )
        high = b.shuffle_vector(words, words, _lanes(range(0, 2 * ROWS, 2)))
        low = b.shuffle_vector(words, words, _lanes(range(1, 2 * ROWS, 2)))
        half = b.add(_mix64(b, b.xor(low, _all(b, given[2]))), b.xor(high, _all(b, given[3])))
        target = b.gep(_data(context, b, signature, given, 4), [given[5]])
        b.store(half, b.bitcast(target, WORDS.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(ids, types.intp, types.uint64, types.uint64, halves, types.intp), build


@intrinsic
def eight_rows(
    _context: Any, halves: Any, slot: Any, times_s: Any, weights: Any, row: Any, rate: Any, horizon: Any, pad: Any
) -> Any:
    """Return a word: bit k for row + k may lie below the horizon, bit 8 + k for its weight or time is not allowed.

    Their half hashes lie in halves[slot ..]; pad = (|horizon| + 1024) * 2^-46, or 0 for an infinite horizon.

    Why no row is missed. key < H means E < weight * exp(H + rate*time), and E >= v, so v < weight * 2^x with x
    = (H + rate*time) * log2(e) is necessary. Reading (x + 1023) * 2^52 as the bits of a float64 gives
    2^floor(x) * (1 + frac(x)) >= 2^x, because 2^f <= 1 + f on [0, 1]: an upper bound, at most 6.2 % loose. All
    roundings (of the key, x, the product and v) are below 16 * 2^-53 * (|H| + |rate*time| + 1024) in x, as |log
    weight| < 745; x is raised by 128 * 2^-53 times that. Outside +-1000 x is clipped, upwards below and to
    "always" above. An allowed weight is positive and finite, an allowed |rate * time| at most 2^50; a comparison
    with NaN is false.
    """

    def build(context: Any, b: ir.IRBuilder, signature: Any, given: Any) -> Any:
        hashed = _mix64(b, _load(b, _data(context, b, signature, given, 0), given[1], WORDS))
        time = _load(b, _data(context, b, signature, given, 2), given[4], FLOATS)
        weight = _load(b, _data(context, b, signature, given, 3), given[4], FLOATS)
        return _judge(b, hashed, time, weight, *(_all(b, value) for value in given[5:]))

    kinds = (types.intp, times_s, weights, types.intp, types.float64, types.float64, types.float64)
    return types.uint64(halves, *kinds), build


def _judge(b: ir.IRBuilder, hashed: Any, time: Any, weight: Any, rate: Any, horizon: Any, pad: Any) -> Any:
    """The word of `eight_rows`."""
    decayed = b.fmul(time, rate)
    size = b.bitcast(b.and_(b.bitcast(decayed, WORDS), _each(WORDS, 2**63 - 1)), FLOATS)  # |decayed|
    x = b.fmul(b.fadd(decayed, horizon), _each(FLOATS, LOG2_E))
    x = b.fadd(x, b.fadd(b.fmul(size, _each(FLOATS, 2.0**-46)), pad))
    least, most = _each(FLOATS, -1000.0), _each(FLOATS, 1000.0)
    x = b.select(b.fcmp_ordered(">", x, least), x, least)
    x = b.select(b.fcmp_ordered("<", x, most), x, most)
    bits = b.fptosi(b.fmul(b.fadd(x, _each(FLOATS, 1023.0)), _each(FLOATS, 2.0**52)), WORDS)
    bound = b.fmul(weight, b.bitcast(bits, FLOATS))
    v = b.fmul(b.uitofp(hashed, FLOATS), _each(FLOATS, 2.0**-64))
    may = b.or_(b.fcmp_ordered(">=", x, most), b.fcmp_ordered("<", v, bound))
    positive = b.fcmp_ordered(">", weight, _each(FLOATS, 0.0))
    finite = b.fcmp_ordered("<", weight, _each(FLOATS, float("inf")))
    near = b.fcmp_ordered("<=", size, _each(FLOATS, LARGEST_DECAY))
    bad = b.not_(b.and_(b.and_(positive, finite), near))
    may_word, bad_word = (b.zext(b.bitcast(flags, ir.IntType(ROWS)), WORD) for flags in (may, bad))
    return b.or_(may_word, b.shl(bad_word, WORD(ROWS)))


def _mix64(b: ir.IRBuilder, x: Any) -> Any:
    """The counterpart of `keys.mix64`."""
    x = b.mul(b.xor(x, b.lshr(x, _each(WORDS, 30))), _each(WORDS, int(M1)))
    x = b.mul(b.xor(x, b.lshr(x, _each(WORDS, 27))), _each(WORDS, int(M2)))
    return b.xor(x, b.lshr(x, _each(WORDS, 31)))


def _data(context: Any, b: ir.IRBuilder, signature: Any, given: Any, number: int) -> Any:
    """Where the array given as that argument begins."""
    return make_array(signature.args[number])(context, b, given[number]).data


def _load(b: ir.IRBuilder, start: Any, index: Any, kind: ir.VectorType) -> Any:
    return b.load(b.bitcast(b.gep(start, [index]), kind.as_pointer()), align=8)


def _all(b: ir.IRBuilder, value: Any) -> Any:
    """The value in all lanes."""
    kind = ir.VectorType(value.type, ROWS)
    first = b.insert_element(ir.Constant(kind, ir.Undefined), value, LANE(0))
    return b.shuffle_vector(first, first, _lanes([0] * ROWS))


def _each(kind: ir.VectorType, value: float) -> Any:
    return ir.Constant(kind, [ir.Constant(kind.element, value)] * ROWS)


def _lanes(numbers: Any) -> Any:
    return ir.Constant(ir.VectorType(LANE, ROWS), list(numbers))
