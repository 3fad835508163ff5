"""Decimals between the steps of an expression: texts on the outside, exact numbers inside."""

from decimal import ROUND_HALF_EVEN, Context, Decimal

# Digits of a decimal, and places behind the point.
MAX_DIGITS = 38
# Nothing that 38 digits and 38 places can make is rounded here.
WIDE = Context(prec=400, Emax=999_999, Emin=-999_999, rounding=ROUND_HALF_EVEN)


def canonical(number: Decimal) -> str | None:
    """Return a number as a decimal of a dataset is written; None if it has too many digits for one."""
    if number and abs(number.adjusted()) > 200:
        return None
    number = WIDE.plus(number)
    _, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    if number and (len(digits) > MAX_DIGITS or -exponent > MAX_DIGITS or len(digits) + exponent > MAX_DIGITS):
        # Zeros at the end say nothing.
        number = number.normalize(WIDE)
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)
        if len(digits) > MAX_DIGITS or -exponent > MAX_DIGITS or len(digits) + exponent > MAX_DIGITS:
            return None
    places = min(MAX_DIGITS, max(0, -exponent))
    fixed = number.quantize(Decimal(1).scaleb(-places), context=WIDE)
    return format(fixed if fixed else abs(fixed), "f")
