"""Cutting texts into parts of bounded numbers of tokens."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Protocol

# A word with the blanks before it; blanks at the end of the text are a piece of their own.
_PIECE = re.compile(r"\s*\S+|\s+")
# Words repeat: most of them are counted once.
_KNOWN_PIECES, _LONGEST_KNOWN = 50_000, 64
# A space at the beginning of a part may be a token of its own.
_BLANK = 1


class TokenCounter(Protocol):
    """What counts the tokens of texts: an embedder."""

    def count_tokens(self, texts: Sequence[str]) -> Sequence[int]:
        """Return how many tokens each text has."""
        ...


class TokenCounters(Protocol):
    """Finds counters by the names of embedders."""

    def names(self) -> list[str]: ...

    def get(self, name: str) -> TokenCounter: ...


class Chunker:
    """Cuts texts. Each part has at most ``tokens`` tokens and begins with at most ``overlap`` of the part before."""

    def __init__(self, counter: TokenCounter, tokens: int, overlap: int) -> None:
        self._counter, self._tokens, self._overlap = counter, tokens, overlap
        self._known: dict[str, int] = {}

    def split(self, text: str) -> Iterator[str]:
        """Yield the parts of a text, at least one. Without an overlap they are the text when joined."""
        pieces, counts = self._pieces(text)
        totals = list(accumulate(counts, initial=0))
        start = end = 0
        while True:
            # At least one piece behind those of the part before, whatever it has.
            end = max(end + 1, bisect_right(totals, totals[start] + self._tokens - _BLANK) - 1)
            yield "".join(pieces[start:end])
            if end >= len(pieces):
                return
            # The next part begins so far back that what is repeated and the next piece fit.
            room = max(0, min(self._overlap, self._tokens - counts[end] - _BLANK))
            start = bisect_left(totals, totals[end] - room)

    def _pieces(self, text: str) -> tuple[list[str], list[int]]:
        """Return the pieces of a text and their tokens: none has more than the most, but a character that has them."""
        pieces = _PIECE.findall(text)
        counts = self._count(pieces)
        if max(counts, default=0) < self._tokens:
            return pieces, counts
        cut = [
            part
            for piece, count in zip(pieces, counts, strict=True)
            for part in ([piece] if count < self._tokens else self._cut(piece))
        ]
        return cut, self._count(cut)

    def _cut(self, piece: str) -> Iterator[str]:
        """Yield parts of one piece, about as long as the tokens allow."""
        start, length = 0, self._tokens
        while start < len(piece):
            # How many characters a part has is guessed by the part before it.
            while length > 1 and self._count([piece[start : start + length]])[0] >= self._tokens:
                length //= 2
            yield piece[start : start + length]
            start += length
            length += length // 2 + 1

    def _count(self, pieces: list[str]) -> list[int]:
        """Return the tokens of each piece. One without any, such as a dash, counts too: there may be many of them."""
        known = self._known
        try:
            return list(map(known.__getitem__, pieces))
        except KeyError:
            if len(known) > _KNOWN_PIECES:
                known.clear()
        new = [piece for piece in dict.fromkeys(pieces) if piece not in known]
        # One space before a word is part of its token in a text, and would be one of its own alone.
        texts = [piece[1:] if piece[0] == " " and len(piece) > 1 else piece for piece in new]
        counted = dict(zip(new, (max(1, count) for count in self._counter.count_tokens(texts)), strict=True))
        counts = [known[piece] if piece in known else counted[piece] for piece in pieces]
        known.update((piece, count) for piece, count in counted.items() if len(piece) <= _LONGEST_KNOWN)
        return counts
