"""Thrift's compact protocol, as far as footers and page headers of Parquet use it.

Source of the format: https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from typing import Any


class Compact:
    """Decodes Thrift's compact protocol, structs as dicts by field number. Raises IndexError at the end of ``raw``."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._at = 0

    def struct_and_length(self) -> tuple[dict[int, Any], int]:
        found = self._struct(0)
        return found, self._at

    def _struct(self, depth: int) -> dict[int, Any]:
        if depth > 16:
            raise ValueError("it nests too deep")
        fields: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            if head == 0:
                return fields
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            fields[number] = self._value(head & 0x0F, depth)

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case 1 | 2:
                return kind == 1
            case 3:
                return self._byte()
            case 4 | 5 | 6:
                return self._zigzag()
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
                return self._struct(depth + 1)
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
