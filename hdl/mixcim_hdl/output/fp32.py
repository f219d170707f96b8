"""Float32 steps of the output pipeline: int32 to float32, multiply, fused multiply-add with a small integer, round.

Each `deep` component has CUTS more registers, which halve its long stages (ChipConfig.deep_pipeline): LATENCY of the
class is that without them, LATENCY of an instance its own. All round to nearest, ties to even, and equal IEEE 754
binary32 in every result that the output pipeline can tell apart: it ends in an 8-bit integer, so subnormals count as
zero and anything past 2**127 just saturates.
"""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from ..primitives.delayed import delayed

MANTISSA = 24  #: bits of a float32 mantissa with the hidden one

#: An unpacked float32: value = (-1)**sign * mantissa * 2**(exponent - 23); mantissa 0 is zero, else its top bit is 1.
FLOAT = data.StructLayout({"mantissa": MANTISSA, "exponent": signed(11), "sign": 1})

_SMALLEST = -1024  #: exponent of a zero: below any other, so that alignment never shifts the other operand


def unpack_float32(m: Module, pattern: Value, name: str) -> data.View:
    """View of FLOAT for a float32 bit pattern; subnormals become zero. Combinational."""
    unpacked = Signal(FLOAT, name=name)
    exponent = pattern[23:31]
    m.d.comb += unpacked.sign.eq(pattern[31])
    with m.If(exponent == 0):
        m.d.comb += unpacked.exponent.eq(_SMALLEST)
    with m.Else():
        m.d.comb += [unpacked.exponent.eq(exponent - 127), unpacked.mantissa.eq(Cat(pattern[:23], 1))]
    return unpacked


def normalise(m: Module, value: Value, name: str, bits: range | None = None) -> tuple[Value, Signal]:
    """(value shifted left until its top bit is 1, shift): a cascade of halving shifts. 0 stays 0. Combinational.

    `bits`: those of the shift that are done here, the lowest being bit 0 of the result; a cascade over two cycles does
    the upper ones first.
    """
    width = len(value)
    bits = range((width - 1).bit_length()) if bits is None else bits
    shift = Signal(len(bits), name=f"{name}_shift")
    for bit in reversed(bits):
        distance = 1 << bit
        shifted = Signal(width, name=f"{name}_by{distance}")
        empty = Signal(name=f"{name}_empty{distance}")
        top = value[max(width - distance, 0) :]
        m.d.comb += [
            empty.eq(top == 0),
            shift[bit - bits[0]].eq(empty),
            shifted.eq(Mux(empty, value << distance, value)),
        ]
        value = shifted
    return value, shift


def round_mantissa(m: Module, value: Value, name: str) -> tuple[Signal, Value]:
    """(24-bit mantissa nearest to a normalised wider one, carry: the exponent grows by one). Combinational."""
    dropped = len(value) - MANTISSA
    kept, tail = value[dropped:], value[:dropped]
    half = 1 << (dropped - 1)
    up = Signal(name=f"{name}_up")
    rounded = Signal(MANTISSA + 1, name=f"{name}_rounded")
    mantissa = Signal(MANTISSA, name=f"{name}_mantissa")
    m.d.comb += [
        up.eq((tail > half) | ((tail == half) & kept[0])),
        rounded.eq(kept + up),
        mantissa.eq(Mux(rounded[MANTISSA], rounded >> 1, rounded)),
    ]
    return mantissa, rounded[MANTISSA]


def _set_result(m: Module, result, mantissa: Value, carry: Value, exponent: Value, zero: Value, sign: Value) -> None:
    """Register sign, mantissa and exponent + carry of a result, 0 if it is below 2**-126, and past 2**1000 that.

    What depends on the carry, which comes late, is found for both of its values.
    """
    low, high = exponent < -126, exponent > 1000
    m.d.sync += result.sign.eq(sign)
    with m.If(zero | Mux(carry, exponent < -127, low)):
        m.d.sync += [result.mantissa.eq(0), result.exponent.eq(_SMALLEST)]
    with m.Else():
        m.d.sync += result.mantissa.eq(mantissa)
        with m.If(Mux(carry, exponent > 999, high)):
            m.d.sync += result.exponent.eq(1000)
        with m.Else():
            m.d.sync += result.exponent.eq(Mux(carry, exponent + 1, exponent))


class _Step(wiring.Component):
    """A step, with CUTS registers more if it is `deep` (0 or 1)."""

    LATENCY: int
    CUTS: int

    def __init__(self, deep: int = 0):
        self._deep = deep
        self.LATENCY = type(self).LATENCY + deep * self.CUTS
        super().__init__()

    def _normalise(self, m: Module, value: Value, name: str, bits: int) -> tuple[Value, Value, Value]:
        """normalise by the lowest `bits` of a shift, with a cut half way; and whether `value` is 0."""
        high, shift_high = normalise(m, value, f"{name}_high", range(bits // 2, bits))
        high, shift_high, zero = self._cut(m, f"{name}_half", high, shift_high, value == 0)
        normal, shift_low = normalise(m, high, name, range(bits // 2))
        return normal, Cat(shift_low, shift_high), zero

    def _cut(self, m: Module, name: str, *values: Value | data.View) -> list:
        """Values that go together, behind a register if the step is deep."""
        return [delayed(m, value, self._deep, f"{name}{index}") for index, value in enumerate(values)]


class IntegerToFloat(_Step):
    """int32 -> float32. Latency 2 (deep: 5), one per cycle. Members: integer (int32), result (FLOAT)."""

    LATENCY, CUTS = 2, 3
    integer: In(signed(32))
    result: Out(FLOAT)

    def elaborate(self, platform):
        m = Module()
        magnitude, sign = Signal(32), Signal()
        m.d.comb += magnitude.eq(Mux(self.integer < 0, -self.integer, self.integer))
        positive, negative = self._cut(m, "magnitude", magnitude, self.integer < 0)
        # Half of the shift is done before the register: the way through all of it and the rounding is too long.
        high, shift_high = normalise(m, positive, "high", range(4, 5))
        half, shift_half = Signal(32), Signal.like(shift_high)
        m.d.sync += [sign.eq(negative), half.eq(high), shift_half.eq(shift_high)]
        normal, shift, zero = self._normalise(m, half, "normal", 4)
        shift_half, sign = self._cut(m, "normal_shift", shift_half, sign)
        normal, shift, sign, zero = self._cut(m, "cut", normal, Cat(shift, shift_half), sign, zero)
        mantissa, carry = round_mantissa(m, normal, "integer")
        m.d.sync += [
            self.result.sign.eq(sign),
            self.result.mantissa.eq(mantissa),
            self.result.exponent.eq(Mux(zero, _SMALLEST, 31 - shift + carry)),
        ]
        return m


class FloatMultiply(_Step):
    """float32 x float32, rounded once. Latency 3 (deep: 5), one per cycle. Members: a, b, result (FLOAT)."""

    LATENCY, CUTS = 3, 2
    a: In(FLOAT)
    b: In(FLOAT)
    result: Out(FLOAT)

    def elaborate(self, platform):
        m = Module()
        a_mantissa, b_mantissa = Signal(MANTISSA), Signal(MANTISSA)
        exponent1, exponent2 = Signal(signed(12)), Signal(signed(12))
        sign1, sign2 = Signal(), Signal()
        product = Signal(2 * MANTISSA)
        m.d.sync += [
            a_mantissa.eq(self.a.mantissa),
            b_mantissa.eq(self.b.mantissa),
            exponent1.eq(self.a.exponent + self.b.exponent),
            sign1.eq(self.a.sign ^ self.b.sign),
        ]
        # A deep step multiplies by halves, each a multiplier of an FPGA or two, and adds a cycle later.
        half = MANTISSA // 2
        if self._deep:
            low, high = a_mantissa * b_mantissa[:half], a_mantissa * b_mantissa[half:]
        else:
            low, high = a_mantissa * b_mantissa, C(0)
        low, high, exponent, sign = self._cut(m, "parts", low, high, exponent1, sign1)
        m.d.sync += [product.eq(low + (high << half)), exponent2.eq(exponent), sign2.eq(sign)]
        normal = Signal(2 * MANTISSA)
        large = product[-1]
        m.d.comb += normal.eq(Mux(large, product, product << 1))
        mantissa, carry = round_mantissa(m, normal, "product")
        exponent = Signal(signed(13))
        m.d.comb += exponent.eq(exponent2 + large)
        rounded = self._cut(m, "rounded", mantissa, carry, exponent, product == 0, sign2)
        _set_result(m, self.result, *rounded)
        return m


class FusedMultiplyAdd(_Step):
    """integer x float32 + float32, rounded once. Latency 5 (deep: 13), one per cycle.

    Members: integer (signed 9 bit), scale, addend, result (FLOAT).
    """

    LATENCY, CUTS = 5, 8
    WIDE = 32  #: bits of the exact product, and of both operands of the addition
    integer: In(signed(9))
    scale: In(FLOAT)
    addend: In(FLOAT)
    result: Out(FLOAT)

    def elaborate(self, platform):
        m = Module()
        wide = self.WIDE
        # 1: exact product of 8 x 24 bits
        product, product_sign, product_exponent = Signal(wide), Signal(), Signal(signed(12))
        addend1 = Signal(FLOAT)
        magnitude = Signal(8)
        m.d.comb += magnitude.eq(Mux(self.integer < 0, -self.integer, self.integer))
        factor, scale, sign, addend = self._cut(
            m, "factors", magnitude, self.scale, self.scale.sign ^ (self.integer < 0), self.addend
        )
        m.d.sync += [
            product.eq(factor * scale.mantissa),
            product_sign.eq(sign),
            product_exponent.eq(scale.exponent + (wide - MANTISSA)),
            addend1.eq(addend),
        ]
        # 2: normalise it
        high, shift_high = normalise(m, product, "product_high", range(3, 5))
        half, shift_half, exponent, zero, sign, addend = self._cut(
            m, "half", high, shift_high, product_exponent, product == 0, product_sign, addend1
        )
        normal, shift_low = normalise(m, half, "product", range(3))
        a_mantissa, a_exponent, a_sign = Signal(wide), Signal(signed(12)), Signal()
        b = Signal(FLOAT)
        m.d.sync += [
            a_mantissa.eq(normal),
            a_exponent.eq(Mux(zero, 2 * _SMALLEST, exponent - Cat(shift_low, shift_half))),
            a_sign.eq(sign),
            b.eq(addend),
        ]
        # 3: align the smaller operand; the bits that leave it are kept as one sticky bit
        b_mantissa = b.mantissa << (wide - MANTISSA)
        a_larger = Signal()
        large, small = Signal(wide), Signal(wide)
        distance = Signal(13)
        m.d.comb += [
            a_larger.eq((a_exponent > b.exponent) | ((a_exponent == b.exponent) & (a_mantissa >= b_mantissa))),
            distance.eq(Mux(a_larger, a_exponent - b.exponent, b.exponent - a_exponent)),
        ]
        guarded = wide + 3
        small_guarded, aligned = Signal(guarded), Signal(guarded)
        lost = Signal()
        m.d.comb += [
            large.eq(Mux(a_larger, a_mantissa, b_mantissa)),
            small.eq(Mux(a_larger, b_mantissa, a_mantissa)),
        ]
        large, small, distance, exponent, sign, subtract = self._cut(
            m, "ordered", large, small, distance, Mux(a_larger, a_exponent, b.exponent), Mux(a_larger, a_sign, b.sign),
            a_sign ^ b.sign,
        )  # fmt: skip
        # By eights, then by the rest: of a multiple of eight up to 56 the bits that are shifted out are the lost ones.
        m.d.comb += small_guarded.eq(small << 3)
        far, eights = distance >= 64, distance[3:6]
        below = Cat((eights > bit // 8) | far for bit in range(guarded))
        coarse, lost_coarse, rest, large, exponent, sign, subtract = self._cut(
            m, "coarse", Mux(far, 0, small_guarded >> Cat(C(0, 3), eights)), (small_guarded & below).any(),
            distance[:3], large, exponent, sign, subtract,
        )  # fmt: skip
        below = Cat(rest > bit for bit in range(7))
        m.d.comb += [aligned.eq(coarse >> rest), lost.eq(lost_coarse | (coarse[:7] & below).any())]
        large3, small3 = Signal(guarded), Signal(guarded)
        sign3, subtract3, exponent3 = Signal(), Signal(), Signal(signed(12))
        m.d.sync += [
            large3.eq(large << 3),
            small3.eq(aligned | lost),
            exponent3.eq(exponent),
            sign3.eq(sign),
            subtract3.eq(subtract),
        ]
        # 4: add magnitudes; the upper half of the shift
        added, total = Signal(guarded + 1), Signal(guarded + 1)
        sign4, exponent4 = Signal(), Signal(signed(12))
        m.d.comb += added.eq(Mux(subtract3, large3 - small3, large3 + small3))
        added, sign, exponent = self._cut(m, "added", added, sign3, exponent3)
        high, shift_high = normalise(m, added, "high", range(4, 6))
        shift4 = Signal.like(shift_high)
        m.d.sync += [
            total.eq(high),
            shift4.eq(shift_high),
            sign4.eq(sign),
            exponent4.eq(exponent),
        ]
        # 5: the lower half, and round
        sum_normal, sum_shift, zero = self._normalise(m, total, "sum", 4)
        shift, before, sign = self._cut(m, "sum_exponent", shift4, exponent4, sign4)
        sum_normal, sum_shift, before, zero, sign = self._cut(
            m, "normal", sum_normal, Cat(sum_shift, shift), before, zero, sign
        )
        mantissa, carry = round_mantissa(m, sum_normal, "sum")
        exponent = Signal(signed(13))
        m.d.comb += exponent.eq(before + 1 - sum_shift)
        rounded = self._cut(m, "rounded", mantissa, carry, exponent, zero, sign)
        _set_result(m, self.result, *rounded)
        return m


class FloatToInteger(_Step):
    """float32 -> integer, ties to even, saturated to -512..511. Latency 1 (deep: 2), one per cycle.

    Members: value, result.
    """

    LATENCY, CUTS = 1, 1
    value: In(FLOAT)
    result: Out(signed(10))

    def elaborate(self, platform):
        m = Module()
        exponent, mantissa = self.value.exponent, self.value.mantissa
        whole = Signal(10)
        tail = Signal(MANTISSA)  # what is shifted out, as a fraction with its point at the left
        rounded = Signal(11)
        shift = Signal(5)  # 23 - exponent: 15..24
        fixed = Signal(2 * MANTISSA)
        m.d.comb += shift.eq(23 - exponent)
        m.d.comb += [
            fixed.eq((mantissa << MANTISSA) >> shift),
            whole.eq(fixed[MANTISSA:]),
            tail.eq(fixed[:MANTISSA]),
        ]
        whole, tail, exponent, sign = self._cut(m, "shifted", whole, tail, exponent, self.value.sign)
        half = 1 << (MANTISSA - 1)
        m.d.comb += rounded.eq(whole + ((tail > half) | ((tail == half) & whole[0])))
        limit = Mux(sign, -512, 511)
        with m.If(exponent < -1):
            m.d.sync += self.result.eq(0)
        with m.Elif((exponent > 8) | (rounded > 511)):
            m.d.sync += self.result.eq(limit)
        with m.Else():
            m.d.sync += self.result.eq(Mux(sign, -rounded, rounded))
        return m
