"""The one kind of cache that there is."""

from __future__ import annotations

import contextlib
from typing import Any

SIZE = 256


class BoundedCache(dict[Any, Any]):
    """A dict that forgets its oldest entry instead of growing beyond 256."""

    def __setitem__(self, key: Any, value: Any) -> None:
        while len(self) >= SIZE:
            with contextlib.suppress(KeyError, RuntimeError, StopIteration):  # another thread was first
                del self[next(iter(self))]
        super().__setitem__(key, value)
