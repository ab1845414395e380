"""A list that a switch tells in parts (OpenFlow 1.4.1, 7.3.5): asked for, collected, decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from controller.openflow.exchange import Multipart

T = TypeVar("T")


class MultipartExchange(Multipart, Generic[T]):
    """One multipart request; result has what decode made of the bodies of all parts, in order."""

    def __init__(
        self, kind: int, request: bytes, decode: Callable[[bytes], Iterable[T]], *, allowed_s: float = 10.0
    ) -> None:
        super().__init__(kind, request, allowed_s=allowed_s)
        self.result: list[T] = []
        self._decode = decode

    def _take(self, body: bytes) -> None:
        self.result += self._decode(body)
