"""Thrift's compact protocol, as far as footers and page headers of Parquet use it.

Source of the format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any

# Structs and lists within each other; Parquet's own nest five deep.
_DEEPEST = 16


class I32(int):
    """A number that was written as one of 32 bits."""


class I64(int):
    """A number that was written as one of 64 bits."""


class Compact:
    """Decodes Thrift's compact protocol, structs as dicts by field number. Raises IndexError at the end of ``raw``.

    Raises ValueError for what another reader might read otherwise: a field that comes twice, a number that does not fit
    the type that it is written as. Numbers keep that type, as readers pass over fields of another one than they expect.
    """

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def struct_and_length(self) -> tuple[dict[int, Any], int]:
        found = self._struct(0)
        return found, self._at

    def _struct(self, depth: int) -> dict[int, Any]:
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return fields
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            if number in fields:
                raise ValueError(f"it has the field {number} twice")
            fields[number] = self._value(head & 0x0F, depth + 1)

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it nests too deep")
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 4:
                return self._zigzag()
            case 5:
                return I32(_fitting(self._zigzag(), 32))
            case 6:
                return I64(_fitting(self._zigzag(), 64))
            case 7:
                return self._take(8)
            case 8:
                return self._take(self._varint())
            case 9 | 10:
                head = self._byte()
                count = head >> 4 if head >> 4 != 15 else self._varint()
                # In a list a boolean takes a byte; elsewhere it is part of the head.
                inner = head & 0x0F if head & 0x0F > 2 else 3
                return [self._value(inner, depth + 1) for _ in range(count)]
            case 12:
                return self._struct(depth)
        raise ValueError(f"it has a field of the unknown type {kind}")

    def _byte(self) -> int:
        value = self._raw[self._at]
        self._at += 1
        return value

    def _take(self, size: int) -> bytes:
        self._at += size
        if self._at > len(self._raw):
            raise IndexError("it ends too early")
        return self._raw[self._at - size : self._at]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("it has a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)


def _fitting(value: int, bits: int) -> int:
    if not -(1 << (bits - 1)) <= value < 1 << (bits - 1):
        raise ValueError(f"it has a number that does not fit {bits} bits")
    return value
