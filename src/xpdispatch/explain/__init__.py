"""How a call's arrays are cut, shared and reduced, and what moves: :meth:`xpdispatch.Kernel.explain`."""

from xpdispatch.explain.explanation import ArrayCut, CacheCut, Explanation, Machine, Share

__all__ = ["ArrayCut", "CacheCut", "Explanation", "Machine", "Share"]
