"""The one kind of cache that there is."""

from __future__ import annotations

import contextlib
from typing import Any


class BoundedCache(dict[Any, Any]):
    """A dict that forgets its oldest entry instead of growing.

    Attributes
    ----------
    bound : int
        The most entries that it holds; a thread that adds one at the same time as another may exceed it by one.
    """

    bound = 256

    def __setitem__(self, key: Any, value: Any) -> None:
        while len(self) >= self.bound:
            with contextlib.suppress(KeyError, RuntimeError, StopIteration):  # another thread was first
                del self[next(iter(self))]
        super().__setitem__(key, value)
