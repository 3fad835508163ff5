"""The options of commands that say what a CSV file is written in."""

from typing import Annotated

import typer

from gristmill.cli.exits import UsageError
from gristmill.client._parameters import given

Delimiter = Annotated[
    str | None, typer.Option(metavar="SIGN", help="Of CSV: what separates cells, such as ; or tab.", show_default='","')
]
DecimalSign = Annotated[str | None, typer.Option("--decimal", metavar="SIGN", help="Of CSV: . or , in numbers.")]
Thousands = Annotated[
    str | None, typer.Option(metavar="SIGN", help="Of CSV: what groups the digits of numbers, such as . or space.")
]
Encoding = Annotated[str | None, typer.Option(metavar="NAME", help="Of CSV: such as latin-1, cp1252, utf-16.")]
Null = Annotated[str | None, typer.Option(metavar="TEXT", help="Of CSV: what stands for null, beside empty cells.")]
Quote = Annotated[str | None, typer.Option(metavar="SIGN", help="Of CSV: what cells are quoted with.")]

# Names that the server knows characters by.
SIGNS = {
    **{"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|"},
    **{"colon": ":", "space": " ", "apostrophe": "'"},
}


def sign_of(name: str, value: str) -> str:
    """Return the character that the option ``name`` stands for. Raises UsageError."""
    sign = SIGNS.get(value, value)
    if len(sign) != 1:
        raise UsageError(f"--{name} {value!r} is no character; give one, or a name: {', '.join(SIGNS)}")
    return sign


def dialect_of(
    delimiter: str | None,
    decimal: str | None,
    thousands: str | None,
    encoding: str | None,
    null: str | None,
    quote: str | None,
) -> dict[str, str]:
    """Return the options that are given as arguments of ``Client.submit`` and others."""
    return given(delimiter=delimiter, decimal=decimal, thousands=thousands, encoding=encoding, null=null, quote=quote)
