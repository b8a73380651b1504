"""Index notation: one line of text to one frozen :class:`Signature`, and back.

Knows no arrays and no engines. ``docs/notation.rst`` is the grammar's reference.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NoReturn, TypeAlias

from xpdispatch.errors import NotationError, ShapeError

Operator: TypeAlias = Literal["sum", "prod", "max", "min", "any", "all", "xor", "fold"]
OPERATORS: tuple[Operator, ...] = ("sum", "prod", "max", "min", "any", "all", "xor", "fold")

_TOKEN = re.compile(r"(?P<name>[^\W\d]\w*)|(?P<int>\d+)|(?P<sym>->|\.\.\.|\.\.|//|[\[\],:?=+\-*%()])")
_CHARACTERS = {
    "→": "write the arrow as ->",
    ">": "write the arrow as ->, without a space in it",
    ";": "separate arrays by ','",
    ".": "a halo is written with two dots, i-1..i+1, and any number of axes with three, ...",
}
_AXIS = "write i for an axis that may be cut, : for one that every tile has whole, and i-1..i+1 for a halo"
_LONGEST = 10_000
"""Characters of a line; reading it takes time that grows with the square of its arrays."""
_MOST_BITS = 4096
"""Of a number on the way to an extent, so that none takes long to compute."""
_PRECEDENCE = {"+": 1, "-": 1, "*": 2, "//": 2, "%": 2}


@dataclass(frozen=True, slots=True)
class Extent:
    """Integer arithmetic on extents and scalar parameters, such as ``n//2+1``.

    Parameters
    ----------
    text : str
        The expression without spaces; it decides equality.
    code : tuple of (str or int)
        The same in postfix order; names are variables, ``"-neg"`` negates.
    """

    text: str
    code: tuple[str | int, ...] = field(compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The variables, each once, in order of appearance."""
        return tuple(dict.fromkeys(c for c in self.code if isinstance(c, str) and c.isidentifier()))

    def value(self, variables: Mapping[str, int]) -> int:
        """Evaluate with integers for the names; no ``eval`` is involved."""
        stack: list[int] = []
        for step in self.code:
            if isinstance(step, int):
                stack.append(step)
            elif step == "-neg":
                stack.append(-stack.pop())
            elif step in _PRECEDENCE:
                right, left = stack.pop(), stack.pop()
                if step in ("//", "%") and right == 0:
                    raise ShapeError(f"extent {self.text!r} divides by zero", hint="mend the extent's arithmetic")
                stack.append(_apply(step, left, right))
            else:
                stack.append(variables[step])
            if stack[-1].bit_length() > _MOST_BITS:
                check_extent(self.text, stack[-1])
        check_extent(self.text, stack[0])
        return stack[0]

    def __str__(self) -> str:
        return self.text


def check_extent(text: str, value: int) -> None:
    """Refuse an extent that no array can have.

    Raises
    ------
    ShapeError
    """
    if not 0 <= value < 2**63:
        raise ShapeError(
            f"extent {text!r} is {in_digits(value)}, expected 0 or more, and less than 2**63",
            hint="pass other scalars, or mend the extent's arithmetic",
        )


def in_digits(value: int) -> str:
    """An integer as messages show it; Python does not print one of thousands of digits."""
    return str(value) if abs(value) < 2**64 else f"an integer of {value.bit_length()} bits"


def _apply(operator: str, left: int, right: int) -> int:
    match operator:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "//":
            return left // right
        case _:
            return left % right


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of an operand or a result.

    Parameters
    ----------
    kind : {"split", "whole", "ellipsis", "unknown"}
        ``i``, ``:``, ``...`` and ``?``.
    name : str or None
        The index of a split axis, the name of a whole axis' extent, or the group of an
        ellipsis: ``""`` in the notation; in the explicit spelling operands with no ``align``
        between them have different groups.
    below, above : int
        Halo widths in cells.
    scale : int
        Cells of this axis to each cell of the index.
    extent : Extent or None
        What the extent is computed from (``i=EXPR``, ``:EXPR``).
    """

    kind: Literal["split", "whole", "ellipsis", "unknown"]
    name: str | None = None
    below: int = 0
    above: int = 0
    scale: int = 1
    extent: Extent | None = None
    column: int = field(default=0, compare=False, repr=False)

    def __str__(self) -> str:
        if self.kind == "ellipsis":
            return "..."
        if self.kind == "unknown":
            return "?"
        if self.kind == "whole":
            return ":" + (self.name or (self.extent.text if self.extent else ""))
        if self.below or self.above:
            low = f"{self.name}-{self.below}" if self.below else self.name
            return f"{low}..{self.name}" + (f"+{self.above}" if self.above else "")
        scaled = f"{self.scale}*{self.name}" if self.scale != 1 else str(self.name)
        return scaled + (f"={self.extent.text}" if self.extent else "")


@dataclass(frozen=True, slots=True)
class Term:
    """One operand, index space (no name) or result.

    Parameters
    ----------
    name : str or None
    axes : tuple of Axis
    op : Operator or None
        How partial results are combined.
    accumulate : bool
        The buffer's content before the call takes part (``Reduce`` of the explicit spelling).
    starred : bool
        The operand stands for any number of arrays with these axes.
    """

    name: str | None
    axes: tuple[Axis, ...]
    op: Operator | None = None
    accumulate: bool = False
    starred: bool = False
    column: int = field(default=0, compare=False, repr=False)

    @property
    def ellipsis(self) -> Axis | None:
        """The leading ``...``, if there is one."""
        return self.axes[0] if self.axes and self.axes[0].kind == "ellipsis" else None

    @property
    def named(self) -> tuple[Axis, ...]:
        """The axes after the ellipsis."""
        return self.axes[1:] if self.ellipsis else self.axes

    @property
    def haloed(self) -> bool:
        """Whether some axis has a halo."""
        return any(a.below or a.above for a in self.axes)

    def __str__(self) -> str:
        head = f"{self.op} " if self.op else "*" if self.starred else ""
        return f"{head}{self.name or ''}[{', '.join(map(str, self.axes))}]"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One of Legate's partitioning constraints as a plain value.

    Parameters
    ----------
    kind : str
        Legate's own name: align, broadcast, scale, bloat, image, min_extents.
    args : tuple
        As written.
    """

    kind: str
    args: tuple[object, ...]

    def __str__(self) -> str:
        if self.kind != "broadcast":
            args = [a for a in self.args if a != "NO_HINT"]  # image's default
            return f"{self.kind}({', '.join(map(repr, args))})"
        shown = [a if isinstance(a, tuple) else (a,) for a in self.args]
        if len(shown) == 1:  # broadcast of one parameter: broadcast('x', (1, 2)) and not broadcast(('x', (1, 2)))
            return f"{self.kind}({', '.join(repr(a) for a in shown[0] if a is not None)})"
        words = [repr(a[0]) if len(a) == 1 or a[1] is None else repr(a) for a in shown]
        return f"{self.kind}({', '.join(words)})"


@dataclass(frozen=True, slots=True)
class Signature:
    """How a kernel's arrays relate to each other, axis by axis.

    Parameters
    ----------
    operands, results : tuple of Term
    constraints : tuple of Constraint
        What the notation cannot say, from the explicit spelling.
    text : str
        As the user wrote it; takes no part in equality.
    """

    operands: tuple[Term, ...]
    results: tuple[Term, ...]
    constraints: tuple[Constraint, ...] = ()
    text: str = field(default="", compare=False, repr=False)

    def __str__(self) -> str:
        axes = [a for t in (*self.operands, *self.results) for a in t.axes]
        if any(t.accumulate for t in self.results) or any(a.kind == "ellipsis" and a.name for a in axes):
            return self._roles()
        left = ", ".join(map(str, self.operands))
        right = ", ".join(map(str, self.results))
        return "; ".join([self.text or f"{left} -> {right}".strip(), *map(str, self.constraints)])

    def _roles(self) -> str:
        # The explicit spelling, where index notation has no words for what it says.
        read = {t.name for t in self.operands}
        written = {t.name for t in self.results}
        roles = [f"{t.name}: In" for t in self.operands if t.name not in written]
        for term in self.results:
            kind = f"Reduce[{term.op!r}]" if term.op else "InOut" if term.name in read else "Out"
            roles.append(f"{term.name}: {kind}")
        return "; ".join([", ".join(roles), *map(str, self.constraints)])

    @property
    def indices(self) -> tuple[str, ...]:
        """The named split indices in order of appearance."""
        axes = (a for term in (*self.operands, *self.results) for a in term.axes)
        return tuple(dict.fromkeys(a.name for a in axes if a.kind == "split" and a.name))

    @property
    def open_ended(self) -> bool:
        """Whether a result has an axis whose extent only the body knows."""
        return any(a.kind == "whole" and not (a.name or a.extent) for t in self.results for a in t.axes)

    @property
    def free_names(self) -> tuple[str, ...]:
        """Names in extents that no operand's axis defines: the body's scalar parameters."""
        known = {a.name for t in self.operands for a in t.axes if a.kind in ("split", "whole")}
        known |= {a.name for t in self.results for a in t.axes if a.kind == "split"}
        wanted: dict[str, None] = {}
        for term in (*self.operands, *self.results):
            for axis in term.axes:
                if axis.extent:
                    wanted.update(dict.fromkeys(axis.extent.names))
                elif axis.kind == "whole" and axis.name:
                    wanted[axis.name] = None
        return tuple(name for name in wanted if name not in known)


def parse(text: str) -> Signature:
    """Read one line of index notation.

    Parameters
    ----------
    text : str
        Such as ``"A[m,k], B[k,n] -> sum C[m,n]"``.

    Returns
    -------
    Signature

    Raises
    ------
    NotationError
        With a caret under the column where the reading stopped.

    Examples
    --------
    >>> signature = parse("x[i], y[i] -> z[i]")
    >>> signature.indices
    ('i',)
    >>> parse(str(signature)) == signature
    True
    """
    line = " ".join(text.split()) if isinstance(text, str) else text
    try:
        if not isinstance(line, str):
            raise NotationError(
                f"the notation is a str, got {type(text).__name__}", hint='write @kernel("x[i] -> y[i]")'
            )
        if len(line) > _LONGEST:
            line, count = f"{line[:60]} ...", len(line)
            raise NotationError(
                f"the notation has {count} characters, expected at most {_LONGEST}",
                hint="write many arrays of one kind as one operand, such as *xs[i]",
            )
        signature = _Parser(line).signature()
        _check(signature)
    except NotationError as error:
        error.notation = str(line)
        raise
    return signature


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


def _tokens(line: str) -> Iterator[_Token]:
    position = 0
    while position < len(line):
        if line[position] == " ":
            position += 1
            continue
        match = _TOKEN.match(line, position)
        if match is None:
            raise NotationError(
                f"unexpected character {line[position]!r}",
                column=position,
                hint=_CHARACTERS.get(
                    line[position], "the notation is made of names, integers and [ ] , : ? = + - * // % ( ) .. ... ->"
                ),
            )
        kind, text, end = str(match.lastgroup), match.group(), match.end()
        if kind == "name":
            while end < len(line) and f"_{line[end]}".isidentifier():  # accents and vowel signs are no word characters
                end += 1
            text = line[position:end]
            if not text.isidentifier():  # such as x\u00b2, whose 2 is a word character and no digit
                raise NotationError(
                    f"{text!r} is no name", column=position, hint="write it as in Python, with letters, digits and _"
                )
            text = unicodedata.normalize("NFKC", text)  # as Python does with the names of parameters
        yield _Token(kind, text, position)
        position = end
    yield _Token("end", "", len(line))


class _Parser:
    """Recursive descent over the tokens of one line, one token of look-ahead."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.tokens = list(_tokens(line))
        self.next = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.next]

    def take(self) -> _Token:
        token = self.token
        self.next += 1
        return token

    def accept(self, text: str) -> _Token | None:
        return self.take() if self.token.text == text else None

    def fail(self, expected: str, hint: str = "") -> NoReturn:
        got = repr(self.token.text) if self.token.text else "the end"
        raise NotationError(f"expected {expected}, got {got}", column=self.token.column, hint=hint)

    def expect(self, text: str, hint: str = "") -> _Token:
        return self.accept(text) or self.fail(repr(text), hint)

    def name(self, what: str, hint: str = "write a name, such as i") -> str:
        return self.take().text if self.token.kind == "name" else self.fail(what, hint)

    def integer(self, hint: str = "write a number") -> int:
        if self.token.kind != "int":
            self.fail("an integer", hint)
        if len(self.token.text) > 18:
            self.fail("an integer below 10**18", hint="write a smaller number")
        return int(self.take().text)

    def signature(self) -> Signature:
        operands: list[Term] = []
        while self.token.text != "->":
            operands.append(self.term(result=False))
            if not self.accept(","):
                break
        hint = "operands go left of '->', results right of it: x[i] -> y[i]"
        self.expect("->", hint="separate arrays by ','" if self.token.kind == "name" else hint)
        results = [self.term(result=True)]
        while self.accept(","):
            results.append(self.term(result=True))
        if self.token.kind != "end":
            self.fail("',' or the end", hint="separate results by ','; there is one '->'")
        return Signature(tuple(operands), tuple(results), text=self.line)

    def term(self, *, result: bool) -> Term:
        column = self.token.column
        op: Operator | None = None
        name: str | None = None
        star = None if result else self.accept("*")
        if self.token.kind == "name":
            name = self.take().text
        elif result or star or self.token.text != "[":
            hint = "write a result as y[i], and with an operator as sum y[]" if result else "write an operand as x[i]"
            self.fail("the name of an array", hint)
        if self.token.kind == "name":
            if not result or name not in OPERATORS:
                word = f"{name!r} is no operator" if result else "an operand takes no operator"
                raise NotationError(
                    f"expected '[' after {name!r}, got {self.token.text!r}: {word}",
                    column=column,
                    hint="use one of "
                    + ", ".join(OPERATORS)
                    + ", on results only"
                    + ("; for a mean return a sum and a count, and divide after the call" if name == "mean" else ""),
                )
            op = name
            column, name = self.token.column, self.take().text
        self.expect("[", hint=_bracket_hint(str(name), self.token.text))
        axes: list[Axis] = []
        while self.token.text != "]":
            axes.append(self.axis(first=not axes, result=result, space=name is None))
            if not self.accept(","):
                break
        self.expect("]", hint="separate axes by ',', and end them with ']'")
        return Term(name, tuple(axes), op, starred=star is not None, column=column)

    def axis(self, *, first: bool, result: bool, space: bool) -> Axis:
        column = self.token.column
        if space and (self.token.kind != "name"):
            self.fail("an index", "an index space has split axes only: [i=n, j=m]")
        if self.accept("..."):
            if not first:
                raise NotationError("'...' stands first or not at all", column=column, hint="write [..., i]")
            return Axis("ellipsis", "", column=column)
        if self.accept("?"):
            if not (result and first):
                raise NotationError("'?' is the first axis of a result", column=column, hint="write x[i] -> y[?]")
            return Axis("unknown", column=column)
        if self.accept(":"):
            return self.whole(column, result=result)
        if self.token.kind == "int":
            scale = self.integer()
            self.expect(
                "*",
                hint="slices are no notation: write ':' for a whole axis, and pass a slice of the array"
                if self.token.text == ":"
                else f"write ':{scale}' for an axis that must have extent {scale}",
            )
            if scale < 1:
                raise NotationError(
                    "a block holds at least one cell, got 0", column=column, hint="write 2*i for blocks of two"
                )
            return Axis("split", self.name("an index"), scale=scale, column=column)
        index = self.name("an axis", _AXIS)
        if self.accept("="):
            if not (result or space):
                raise NotationError(
                    f"an operand's array already gives the extent of {index!r}",
                    column=column,
                    hint=f"write {index}; '=' belongs to results and index spaces",
                )
            return Axis("split", index, extent=self.extent(), column=column)
        if self.token.text in ("+", "-", ".."):
            return self.halo(index, column, result=result)
        if self.token.text == "*":
            self.fail("',' or ']'", hint=f"write blocks with the number first: 2*{index}")
        return Axis("split", index, column=column)

    def whole(self, column: int, *, result: bool) -> Axis:
        if self.token.text in (",", "]"):
            return Axis("whole", column=column)
        start = self.next
        extent = self.extent()
        simple = self.next == start + 1
        if not (simple or result):
            raise NotationError(
                "an operand's whole axis takes one name or integer",
                column=column,
                hint="name it (:n) and compute with n in the results",
            )
        if simple and extent.names:
            return Axis("whole", extent.text, column=column)
        return Axis("whole", extent=extent, column=column)

    def halo(self, index: str, column: int, *, result: bool) -> Axis:
        low = self.offset()
        self.expect(
            "..",
            hint=f"a halo is written with two dots: {index}-1..{index}+1"
            if self.token.text in (":", "...")
            else "an operand has no index arithmetic: pass a slice of the array, such as x[1:]; "
            f"a halo is a range, both ends included: {index}-1..{index}+1",
        )
        again = self.token
        if self.name("an index") != index:
            raise NotationError(
                f"both ends of a halo need the same index, got {index!r} and {again.text!r}",
                column=again.column,
                hint=f"write {index}-1..{index}+1",
            )
        high = self.offset()
        if low > 0 or high < 0:
            raise NotationError(
                "a halo goes from the index or below it to the index or above it",
                column=column,
                hint=f"write {index}-1..{index}+1, {index}..{index}+2 or {index}-2..{index}",
            )
        if result:
            raise NotationError("results have no halo", column=column, hint=f"write {index}")
        return Axis("split", index, below=-low, above=high, column=column)

    def offset(self) -> int:
        hint = "the width of a halo is a number, i-2..i+2; where it varies, make a kernel for each width in a function"
        if self.accept("+"):
            return self.integer(hint)
        if self.accept("-"):
            return -self.integer(hint)
        return 0

    def extent(self) -> Extent:
        start = self.next
        code = tuple(self.sum(0, depth=0))
        return Extent("".join(t.text for t in self.tokens[start : self.next]), code)

    def sum(self, strength: int, depth: int) -> Iterator[str | int]:
        # Precedence climbing; yields postfix code as it goes. The depth bound keeps a hostile line
        # from exhausting the interpreter's stack.
        if depth > 50:
            self.fail("a simpler extent", hint="compute it before the call, and pass it as a scalar")
        yield from self.atom(depth)
        while (operator := self.token.text) in _PRECEDENCE and _PRECEDENCE[operator] > strength:
            self.take()
            yield from self.sum(_PRECEDENCE[operator], depth + 1)
            yield operator

    def atom(self, depth: int) -> Iterator[str | int]:
        if self.accept("-"):
            if depth > 50:
                self.fail("a simpler extent", hint="compute it before the call, and pass it as a scalar")
            yield from self.atom(depth + 1)
            yield "-neg"
        elif self.accept("("):
            yield from self.sum(0, depth + 1)
            self.expect(")", hint="close what '(' opens")
        elif self.token.kind == "int":
            yield self.integer()
        else:
            hint = "write ':', and pass a slice of the array, x[::2]" if self.token.text == ":" else "write n or n//2+1"
            yield self.name("an extent: a name, an integer or arithmetic on them", hint)


def _bracket_hint(name: str, got: str) -> str:
    if name in OPERATORS and got == "(":
        return f"write the operator before the result's name: {name} s[]"
    return f"write its axes in brackets, x[i,j]; a 0-d array is {name}[]"


def _check(signature: Signature) -> None:
    """Refuse what reads well and means nothing."""
    _check_names(signature)
    _check_definitions(signature)
    _check_reductions(signature)
    _check_unknown(signature)


def _check_names(signature: Signature) -> None:
    for side, terms in (("operand", signature.operands), ("result", signature.results)):
        seen: set[str] = set()
        for term in terms:
            if term.name in seen:
                raise NotationError(
                    f"{side} {term.name!r} stands twice", column=term.column, hint="give each array its own name"
                )
            seen |= {term.name} if term.name else set()
            used: set[str | None] = set()
            for axis in term.axes:
                if axis.kind == "split" and axis.name in used:
                    raise NotationError(
                        f"index {axis.name!r} stands twice in {term.name!r}",
                        column=axis.column,
                        hint=f"an index occurs once per array; a square one is {term.name}[{axis.name}, :{axis.name}]",
                    )
                used |= {axis.name} if axis.kind == "split" else set()
    stars = [t for t in signature.operands if t.starred]
    for term in stars:
        if len(stars) > 1 or any(r.name == term.name for r in signature.results):
            raise NotationError(
                f"'*{term.name}' stands for any number of operands, of which there is one in a kernel, and no result",
                column=stars[-1].column,
                hint="name the other arrays one by one",
            )
    for term in signature.results:
        before = next((t for t in signature.operands if t.name and t.name == term.name), None)
        if before is None:
            continue
        if term.op:
            raise NotationError(
                f"{term.name!r} is read and written, and takes no operator",
                column=term.column,
                hint="give the result a name of its own",
            )
        plain = [(a.kind, a.name, a.scale, a.extent) for a in before.axes]
        if plain != [(a.kind, a.name, a.scale, a.extent) for a in term.axes]:
            raise NotationError(
                f"{term.name!r} is read and written, and needs the same axes on both sides",
                column=term.column,
                hint=f"write {before} on both sides, or give the result a name of its own",
            )


def _check_definitions(signature: Signature) -> None:
    defined = {a.name for t in signature.operands if t.name for a in t.axes if a.kind == "split"}
    sized = {a.name for t in (*signature.operands, *signature.results) for a in t.axes if a.extent and a.name}
    for term in (*signature.operands, *signature.results):
        for axis in term.axes:
            if axis.kind == "split" and axis.name not in defined | sized:
                what = f"result {term.name!r}" if term.name else "the index space"
                hint = f"use it in an operand, or give its extent: {axis.name}=n"
                if any(a.kind == "whole" and a.name == axis.name for t in signature.operands for a in t.axes):
                    hint = f"{axis.name!r} is the extent of a whole axis: write :{axis.name}"
                raise NotationError(
                    f"nothing says how long index {axis.name!r} of {what} is", column=axis.column, hint=hint
                )
    _check_order(signature)
    if not any(t.ellipsis for t in signature.operands):
        for term in signature.results:
            if term.ellipsis:
                raise NotationError(
                    f"'...' in result {term.name!r} has no operand to take its axes from",
                    column=term.ellipsis.column,
                    hint="use '...' in an operand too, or write the axes out",
                )


def _check_order(signature: Signature) -> None:
    """Extents of indices are settled from left to right, those of named operands first."""
    known = {a.name for t in signature.operands if t.name for a in t.axes if a.kind in ("split", "whole")}
    sized = [a for t in (*signature.operands, *signature.results) for a in t.axes if a.kind == "split" and a.extent]
    later = {a.name for a in sized} - known
    for axis in sized:
        for name in axis.extent.names if axis.extent else ():
            if name in later:
                raise NotationError(
                    f"the extent of index {axis.name!r} is made of {name!r}, whose own extent is not settled before",
                    column=axis.column,
                    hint=f"write {name}=... to the left of it, or give both extents by scalar parameters",
                )
        later.discard(axis.name)


def _check_reductions(signature: Signature) -> None:
    free = any(t.ellipsis for t in signature.operands)
    for term in signature.results:
        if any(a.kind == "unknown" for a in term.axes):
            if term.op:
                raise NotationError(
                    f"{term.op} of {term.name!r} combines nothing: tiles are joined along '?'",
                    column=term.column,
                    hint=f"write {term.name} without {term.op}",
                )
            continue
        held = {a.name for a in term.axes if a.kind == "split"}
        missing = [i for i in signature.indices if i not in held]
        lost = [repr(i) for i in missing] + (["'...'"] if free and not term.ellipsis else [])
        if lost and not term.op:
            raise NotationError(
                f"result {term.name!r} leaves out {', '.join(lost)} and does not say how to combine the tiles",
                column=term.column,
                hint=_ways_out(signature, term, missing),
            )
        if term.op and not lost:
            raise NotationError(
                f"{term.op} of {term.name!r} combines nothing: the result has every index",
                column=term.column,
                hint=f"write {term.name} without {term.op}, or leave out the index to combine over",
            )


def _ways_out(signature: Signature, term: Term, missing: list[str]) -> str:
    """Both ways out of a reduced index without an operator: an OP, or a whole axis."""
    plain = f"{term.name}[{', '.join(map(str, term.axes))}]"
    operand = next((t for t in signature.operands if {a.name for a in t.axes} & set(missing)), None)
    if operand is None:
        return f"write an operator, such as sum {plain}"
    axes = [f":{a.name}" if a.name in missing else str(a) for a in operand.axes]
    uncut = f"{operand.name}[{', '.join(axes)}]"
    return f"write sum {plain} (or another operator) to combine, or {uncut} to keep the axis whole"


def _check_unknown(signature: Signature) -> None:
    unknown = next((a for t in signature.results for a in t.axes if a.kind == "unknown"), None)
    if unknown is None:
        return
    if len(signature.indices) != 1 or any(t.ellipsis for t in signature.operands):
        raise NotationError(
            "a kernel with '?' has exactly one split index and no '...'",
            column=unknown.column,
            hint="keep the other axes whole: x[i, :] -> y[?, :]",
        )
