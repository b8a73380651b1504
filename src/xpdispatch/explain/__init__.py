"""What a call will do before it is made: :meth:`xpdispatch.Kernel.explain`.

What enters: a bound call, whose arrays may be mere shapes and dtypes, and the machine to ask about. What leaves: an
:class:`Explanation`, whose numbers have names and which shows itself as text, tables, HTML and a picture. No array of
the call is read; the body runs on small arrays of ones, to learn dtypes and to measure what it needs.

The modules, each of which imports from those before it only:

=============  ===================================================================================================
question       the call, and the machine it is asked about
tiling         where the tiles lie, and sums over them
legate_rule    into how many pieces Legate will cut the common space of a launch
arrays         each array's part of a tile, and what a processor reads, writes, receives and holds
cache          how a tile is cut further for the cache, and what the body needs besides its arrays
answer         all of this for one call on one machine
report         the answer in words
text           the report as plain text, and as tables for a terminal
drawing        shapes and labels, as SVG and on matplotlib's canvas
picture        the answer as a drawing
notebook       report and picture as HTML
explanation    the class that users get
=============  ===================================================================================================

It imports from `calling`, `legate.recipe`, `running` and what these stand on. Only a kernel's `explain` and the shell
import it, when they are used: nothing that a call needs.
"""

from xpdispatch.explain.arrays import ArrayCut, Share
from xpdispatch.explain.cache import CacheCut
from xpdispatch.explain.explanation import Explanation
from xpdispatch.explain.question import Machine

__all__ = ["ArrayCut", "CacheCut", "Explanation", "Machine", "Share"]
