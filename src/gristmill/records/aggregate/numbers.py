"""SQL of numbers that are rounded as the rest of Gristmill rounds: to the even digit where two are as near."""


def quotient(dividend: str, divisor: str, places: int) -> str:
    """Return the SQL of a quotient with at most so many places behind the point; null where a side is null.

    dividend: a numeric or an integer. divisor: a positive one, or 0 beside a dividend that is null.
    """
    scaled = f"({dividend})::numeric * 1{'0' * places}"
    whole = f"div({scaled}, {divisor})"
    rest = f"2 * abs({scaled} - {whole} * {divisor})"
    away = f"({rest} > {divisor} OR ({rest} = {divisor} AND mod({whole}, 2) <> 0))"
    rounded = f"({whole} + CASE WHEN {away} THEN sign({dividend}) ELSE 0 END)"
    return f"trim_scale({rounded} * {_unit(places)})"


def _unit(places: int) -> str:
    return "1" if places == 0 else "0." + "0" * (places - 1) + "1"
