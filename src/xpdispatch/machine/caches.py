"""The one kind of cache that there is."""

from __future__ import annotations

import contextlib
from itertools import islice
from typing import Any


class BoundedCache(dict[Any, Any]):
    """A dict that forgets the older half of its entries instead of growing.

    Attributes
    ----------
    bound : int
        The most entries that it holds; a thread that adds one at the same time as another may exceed it by one.
    """

    bound = 256

    def __setitem__(self, key: Any, value: Any) -> None:
        if len(self) >= self.bound:
            with contextlib.suppress(RuntimeError):  # another thread adds one meanwhile
                # One alone would take longer: a dict looks for its first entry among all that are gone.
                for old in list(islice(self, (self.bound + 1) // 2)):
                    self.pop(old, None)
        super().__setitem__(key, value)
