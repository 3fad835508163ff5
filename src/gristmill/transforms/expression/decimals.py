"""Decimals between the steps of an expression: texts on the outside, exact numbers inside."""

from decimal import ROUND_HALF_EVEN, Context, Decimal

from gristmill.transforms.expression.tree import NoValue

# Digits of a decimal, and places behind the point.
MAX_DIGITS = 38
# Nothing that 38 digits and 38 places can make is rounded here.
WIDE = Context(prec=400, Emax=999_999, Emin=-999_999, rounding=ROUND_HALF_EVEN)


def canonical(number: Decimal) -> str | None:
    """Return a number as a decimal of a dataset is written; None if it has too many digits for one."""
    if number and abs(number.adjusted()) > 200:
        return None
    number = WIDE.plus(number)
    if not _fits(number):
        # Zeros at the end say nothing.
        number = number.normalize(WIDE)
        if not _fits(number):
            return None
    places = min(MAX_DIGITS, max(0, -_exponent(number)))
    fixed = number.quantize(Decimal(1).scaleb(-places), context=WIDE)
    return format(fixed if fixed else abs(fixed), "f")


def written(number: Decimal) -> str:
    """Return a number as a decimal of a dataset is written. Raises NoValue where it has too many digits."""
    found = canonical(number)
    if found is None:
        raise NoValue("out_of_range", f"the result has more than {MAX_DIGITS} digits")
    return found


def _fits(number: Decimal) -> bool:
    digits, exponent = len(number.as_tuple().digits), _exponent(number)
    return not number or (digits <= MAX_DIGITS and -exponent <= MAX_DIGITS and digits + exponent <= MAX_DIGITS)


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent
