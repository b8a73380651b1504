"""What a call will do before it is made: :meth:`xpdispatch.Kernel.explain`.

What enters: a bound call, whose arrays may be mere shapes and dtypes, and the machine to ask about. What leaves: an
:class:`Explanation`, whose numbers have names and which shows itself as text, tables, HTML and a picture. No array of
the call is read; the body runs on small stand-ins, to learn dtypes and to measure what it needs.

The modules, each of which imports from those before it only:

=============  ===================================================================================================
question       the call, and the machine it is asked about
tiling         where the tiles lie
legate_rule    into how many pieces Legate will cut the common space of a launch
arrays         each array's part of a tile, and what a processor reads, writes, receives and holds
cache          how a tile is cut further for the cache, and what the body needs besides its arrays
answer         all of this for one call on one machine
sentences      the answer in words
terminal       the sentences as plain text, and as tables for a terminal
canvas         shapes and labels, as SVG and by matplotlib
picture        the answer as a drawing
notebook       sentences and picture as HTML
explanation    the class that users get
=============  ===================================================================================================

It imports from the packages before it: `planning`, `running` and `legate`, whose engine alone needs Legate and is asked
only about the machine that is here. A kernel's `explain` and the shell import this package when they are used.
"""

from xpdispatch.explain.arrays import ArrayCut, Share
from xpdispatch.explain.cache import CacheCut
from xpdispatch.explain.explanation import Explanation
from xpdispatch.explain.question import Machine
from xpdispatch.explain.tiling import Tiles

__all__ = ["ArrayCut", "CacheCut", "Explanation", "Machine", "Share", "Tiles"]
