"""How a CSV body is written: what separates its cells, quotes them and stands for null, and how its numbers look."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from encodings.aliases import aliases

from gristmill.core.errors import Invalid, Violation

# Names for characters that are awkward to write in a URL or a shell.
NAMED = {
    "tab": "\t",
    "\\t": "\t",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
    "colon": ":",
    "space": " ",
    "point": ".",
    "apostrophe": "'",
    "nbsp": "\N{NO-BREAK SPACE}",
    "nnbsp": "\N{NARROW NO-BREAK SPACE}",
}


def _module(name: str) -> str:
    """Return the name that Python's codecs have for an encoding. Asked themselves, they keep every name in memory."""
    plain = name.strip().lower().replace("-", "_").replace(" ", "_")
    return aliases.get(plain, plain)


# Encodings that are taken, by the names that Python's codecs have for them. None has states that a part of a body would
# leave open, and each decodes in linear time.
ENCODINGS = {
    _module(name): name
    for name in (
        *("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "ascii", "latin-1"),
        *(f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
        *(f"cp{page}" for page in (1250, 1251, 1252, 1253, 1254, 1255, 1256, 1257, 1258)),
        *(f"cp{page}" for page in (437, 737, 775, 850, 852, 855, 857, 858, 862, 866, 874)),
        *("mac-roman", "mac-latin2", "mac-cyrillic", "koi8-r", "koi8-u"),
        *("shift_jis", "cp932", "euc_jp", "gb18030", "gbk", "big5", "cp950", "euc_kr", "cp949"),
    )
}
MAX_NULL = 100

_SIGNS = "an ASCII character that is no letter, digit or line end, or one of the names"
_SIGN = re.compile(r"[\x01-\x7f]")
_THOUSANDS = re.compile(r"[^\w+\-\0\r\n\\]|_")


class BadDialect(ValueError):
    """A value of a parameter is not valid. parameter: its name. reason: what it is, and what is valid."""

    def __init__(self, parameter: str, value: str, valid: str) -> None:
        shown = value if len(value) <= 40 else value[:40] + "…"
        self.parameter, self.reason = parameter, f"{parameter}={shown!r} is not valid: give {valid}"
        super().__init__(self.reason)


@dataclass(frozen=True, slots=True)
class CsvDialect:
    """What a CSV body is written in. Raises BadDialect, which is a ValueError, for a value that is not valid.

    delimiter, quote: one ASCII character each. decimal: ``.`` or ``,``. thousands: what groups the digits of numbers by
    three, None for nothing. encoding: one of ``ENCODINGS``. null: what stands for null in a cell without quotes, beside
    nothing at all. For characters, the names in ``NAMED`` may stand.
    """

    delimiter: str = ","
    decimal: str = "."
    thousands: str | None = None
    encoding: str = "utf-8"
    null: str | None = None
    quote: str = '"'

    def __post_init__(self) -> None:
        for name in ("delimiter", "decimal", "thousands", "quote"):
            value = getattr(self, name)
            object.__setattr__(self, name, NAMED.get(value, value) or (None if name == "thousands" else value))
        object.__setattr__(self, "encoding", _encoding(self.encoding))
        object.__setattr__(self, "null", self.null or None)
        for name in ("delimiter", "quote"):
            value = getattr(self, name)
            if not _SIGN.fullmatch(value) or value.isalnum() or value in "\r\n":
                raise BadDialect(name, value, f"{_SIGNS} {', '.join(NAMED)}")
        if self.quote == self.delimiter:
            raise BadDialect("quote", self.quote, "another character than that of delimiter")
        if self.decimal not in (".", ","):
            raise BadDialect("decimal", self.decimal, ". or ,")
        if self.thousands is not None:
            self._check_thousands(self.thousands)
        never = {"\0", "\r", "\n", self.delimiter, self.quote}
        if self.null is not None and (len(self.null) > MAX_NULL or never.intersection(self.null)):
            valid = f"at most {MAX_NULL} characters in one line, none of them that of delimiter or quote"
            raise BadDialect("null", self.null, valid)

    def _check_thousands(self, sign: str) -> None:
        if not _THOUSANDS.fullmatch(sign):
            raise BadDialect("thousands", sign, "one character that is no letter, digit, sign or line end, or its name")
        for name in ("decimal", "quote"):
            if sign == getattr(self, name):
                raise BadDialect("thousands", sign, f"another character than that of {name}")

    @property
    def is_default(self) -> bool:
        return self == DEFAULT

    @property
    def changed(self) -> dict[str, str]:
        """The members that are not what they are by default, as a job keeps them."""
        return {name: value for name, value in asdict(self).items() if value != getattr(DEFAULT, name)}

    @property
    def has_plain_numbers(self) -> bool:
        """Whether numbers look as they do in the contract: a point, and nothing that groups digits."""
        return self.decimal == "." and self.thousands is None


def _encoding(name: str) -> str:
    # A byte order mark of UTF-8 is passed over in any case.
    found = ENCODINGS.get(_module(name).removesuffix("_sig"))
    if found is None:
        raise BadDialect("encoding", name, f"one of {', '.join(ENCODINGS.values())}")
    return found


DEFAULT = CsvDialect()
PARAMETERS = tuple(asdict(DEFAULT))


def given_parameters(query: object) -> dict[str, str]:
    """Return the parameters of a dialect that the members of a request give."""
    return {name: value for name in PARAMETERS if (value := getattr(query, name, None)) is not None}


def read_dialect(given: Mapping[str, str], place: str = "/query") -> CsvDialect:
    """Return the dialect that the parameters of a request name. place: of the parameters. Raises Invalid."""
    try:
        return CsvDialect(**given)
    except BadDialect as error:
        name = error.parameter
        raise Invalid(
            error.reason, [Violation(f"{place}/{name}", "bad_parameter", error.reason, field=name)]
        ) from error


def refuse_parameters(given: Iterable[str], what: str, place: str = "/query") -> None:
    """Raise Invalid for each parameter that is given though ``what`` is not CSV."""
    reasons = {name: f"{name} says how CSV is written, and {what} is not CSV: leave it out" for name in given}
    if reasons:
        places = [
            Violation(f"{place}/{name}", "not_applicable", reason, field=name) for name, reason in reasons.items()
        ]
        raise Invalid(next(iter(reasons.values())), places)
