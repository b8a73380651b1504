"""Index notation: one line of text to the terms that it names; what contradicts itself is refused.

Knows no arrays and no engines. ``docs/notation.rst`` is the grammar's reference.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import Literal, NamedTuple, NoReturn, TypeAlias, cast

from xpdispatch.errors import NotationError, ShapeError
from xpdispatch.language.terms import (
    ARITHMETIC,
    OPERATORS,
    WINDOWS,
    Axis,
    Extent,
    Operator,
    Size,
    Term,
    indices_of,
    names_of,
    wrong_sizes,
)

_Terms: TypeAlias = tuple[Term, ...]

_TOKEN = re.compile(r"(?P<name>[^\W\d]\w*)|(?P<int>\d+)|(?P<sym>->|\.\.\.|\.\.|//|[\[\],:?=+\-*%()@])")
_CHARACTERS = {
    "→": "write the arrow as ->",
    ">": "write the arrow as ->, without a space in it",
    ";": "separate arrays by ','",
    ".": "a halo is written with two dots, i-1..i+1, and any number of axes with three, ...",
}
_AXIS = "write i for an axis that may be cut, : for one that every tile has whole, and i-1..i+1 for a halo"
_FACTORS = ("*", "//", "%")
_LAST = "an index stands last in a product: 2*i, b*i or (n+1)*i"
_INDEX = ("an index", _LAST)
_OFFSET = ("a number, a name or arithmetic on them", "write i-1..i+1, or i..i+w-1 with a scalar parameter w")
_EXTENT = ("an extent: a name, an integer or arithmetic on them", "write n or n//2+1")
"""What is expected where arithmetic stands, and the remedy."""
_SCATTERS = ("sum", "prod", "max", "min", "any", "all")
"""The operators of results with keys."""
_LONGEST = 10_000
"""Characters of a line; reading it takes time that grows with the square of its arrays."""
_DEEPEST = 50
"""Parentheses and signs inside each other in an extent, so that no line exhausts the interpreter's stack."""


def read(text: str) -> tuple[_Terms, _Terms]:
    """Read one line of index notation: its operands and its results.

    Raises
    ------
    NotationError
        With a caret under the column where the reading stopped.
    """
    line = " ".join(text.split()) if isinstance(text, str) else repr(text)
    try:
        if not isinstance(text, str):
            raise NotationError(f"the notation is {text!r}, expected a str", hint='write @kernel("x[i] -> y[i]")')
        if len(line) > _LONGEST:
            line, count = f"{line[:60]} ...", len(line)
            raise NotationError(
                f"the notation has {count} characters, expected at most {_LONGEST}",
                hint="write many arrays of one kind as one operand, such as *xs[i]",
            )
        operands, results = _Parser(line).line()
        _check_names(operands, results)
        _check_sizes(operands, results)
        _check_keys(operands, results)
        _check_extents(operands, results)
        _check_reductions(operands, results)
        _check_folds(results)
    except NotationError as error:
        error.notation = line
        raise
    return operands, results


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
                    line[position], "the notation is made of names, integers and [ ] , : ? = + - * // % ( ) @ .. ... ->"
                ),
            )
        kind, text, end = str(match.lastgroup), match.group(), match.end()
        if kind == "name":
            while end < len(line) and f"_{line[end]}".isidentifier():  # such as an accent, which \w leaves out
                end += 1
            text = line[position:end]
            if not text.isidentifier():  # such as x\u00b2, whose 2 matches \w and is not a digit
                raise NotationError(
                    f"{text!r} is not a name", column=position, hint="write it as in Python, with letters, digits and _"
                )
            text = unicodedata.normalize("NFKC", text)  # as Python does with the names of parameters
        yield _Token(kind, text, position)
        position = end
    yield _Token("end", "", len(line))


class _Parser:
    """Recursive descent over the tokens of one line, one token of look-ahead."""

    def __init__(self, line: str) -> None:
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

    def integer(self) -> int:
        if len(self.token.text) > 18:
            self.fail("an integer below 10**18", hint="write a smaller number")
        return int(self.take().text)

    def line(self) -> tuple[_Terms, _Terms]:
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
        return tuple(operands), tuple(results)

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
                word = f"{name!r} is not an operator" if result else "an operand has no operator"
                mean = "; for a mean return a sum and a count, and divide after the call" if name == "mean" else ""
                raise NotationError(
                    f"expected '[' after {name!r}, got {self.token.text!r}: {word}",
                    column=column,
                    hint=f"the operators are {', '.join(OPERATORS)}; they stand before results only{mean}",
                )
            op = name
            column, name = self.token.column, self.take().text
        self.expect("[", hint=_bracket_hint(str(name), self.token.text))
        axes: list[Axis] = []
        separator = ", "
        while self.token.text != "]":
            axes.append(self.axis(first=not axes, result=result, space=name is None))
            comma = self.accept(",")
            if not comma:
                break
            separator = ", " if self.token.column > comma.column + 1 else ","
        self.expect("]", hint="separate axes by ',', and end them with ']'")
        return Term(name, tuple(axes), op, starred=star is not None, column=column, separator=separator)

    def axis(self, *, first: bool, result: bool, space: bool) -> Axis:
        column = self.token.column
        if space and (self.token.kind != "name"):
            self.fail("an index", "an index space has split axes only: [i=n, j=m]")
        if self.accept("..."):
            if not first:
                raise NotationError("'...' is not the first axis", column=column, hint="write it first: [..., i]")
            return Axis("ellipsis", "", column=column)
        if self.accept("?"):
            if not (result and first):
                raise NotationError(
                    "'?' is not the first axis of a result", column=column, hint="write it there: x[i] -> y[?]"
                )
            return Axis("unknown", column=column)
        if mark := self.accept(":") or self.accept("@"):
            return (self.whole if mark.text == ":" else self.keyed)(column, result=result)
        if self.token.text == ".." or (self.token.kind == "name" and self._ends_after("..")):
            return self.scan(column, result=result)
        scale, index = self.product()
        if scale == 1 and self.accept("="):
            if not (result or space):
                raise NotationError(
                    f"an operand's array already gives the extent of {index!r}, and '=' gives it again",
                    column=column,
                    hint=f"write {index} alone; '=' is for results and index spaces",
                )
            return Axis("split", index, extent=self.extent(), column=column)
        if self.token.text in ("+", "-", ".."):
            return self.window(scale, index, column, result=result)
        return Axis("split", index, scale=scale, column=column)

    def product(self) -> tuple[Size, str]:
        """The factor of an index, and the index, which stands last."""
        if self.token.kind not in ("name", "int") and self.token.text != "(":
            self.fail("an axis", _AXIS)
        first, end, symbol = self.next, self.next, ""
        code: list[str | int] = []
        while symbol not in ("", "*") or self.token.kind != "name" or self.tokens[self.next + 1].text in _FACTORS:
            code += [*self.atom(1, _INDEX), *filter(None, [symbol])]
            end, symbol = self.next, self.token.text
            if symbol not in _FACTORS:
                if self.tokens[first].kind == "name":
                    self.next = first + 1
                    self.fail("',' or ']'", _LAST)
                self.fail("'*'", _slice(self.token.text, code))
            self.take()
        return self.size(first, end, code or [1]), self.take().text

    def whole(self, column: int, *, result: bool) -> Axis:
        if self.token.text in (",", "]"):
            return Axis("whole", column=column)
        start = self.next
        extent = self.extent()
        simple = self.next == start + 1
        if not (simple or result):
            raise NotationError(
                "a whole axis of an operand has arithmetic in its extent, expected one name or integer",
                column=column,
                hint="name it (:n) and compute with n in the results",
            )
        if simple and extent.names:
            return Axis("whole", extent.text, column=column)
        return Axis("whole", extent=extent, column=column)

    def keyed(self, column: int, *, result: bool) -> Axis:
        key = self.name("the name of an operand with keys", "write @g, where g is an operand of integers")
        if not result:
            if self.token.text == "=":
                self.fail("',' or ']'", hint=f"write @{key} alone: the array has the extent; '=' is for results")
            return Axis("whole", key=key, column=column)
        self.expect("=", hint=f"a result has as many cells as is said, such as @{key}=n")
        return Axis("whole", extent=self.extent(), key=key, column=column)

    def _ends_after(self, text: str) -> bool:
        """Whether this follows the token, and nothing follows it that belongs to the axis."""
        after = [t.text for t in self.tokens[self.next + 1 : self.next + 3]]
        return after[0] == text and after[-1] in (",", "]", "=")

    def scan(self, column: int, *, result: bool) -> Axis:
        kind: Literal["up to", "from"] = "up to" if self.accept("..") else "from"
        index = self.name("an index", "a scan is over the elements of an index: sum y[..i], or sum y[i..]")
        if kind == "from":
            self.take()
        if not result:
            raise NotationError(
                f"an operand is scanned along {index!r}, and only results are",
                column=column,
                hint=f"write {index} here, or {index}-1..{index}+1 for a halo; "
                f"a scan is a result's: x[{index}] -> sum y[..{index}]",
            )
        if self.token.text not in (",", "]"):
            hint = (
                f"a scan has no arithmetic; the extent of an index without an operand: [{index}=n] -> sum y[..{index}]"
            )
            self.fail("',' or ']'", hint)
        return Axis("split", index, scan=kind, column=column)

    def window(self, scale: Size, index: str, column: int, *, result: bool) -> Axis:
        shown, first = _scaled(scale, index), self.next
        low = self.offset()
        below = self.size(first, self.next, [*low, "-neg"])
        self.expect(
            "..",
            hint=f"a halo is written with two dots: {shown}-1..{shown}+1"
            if self.token.text in (":", "...")
            else "an index has no arithmetic: pass a slice of the array, such as x[1:]; "
            f"a halo is a range, both ends included: {shown}-1..{shown}+1",
        )
        again, other = self.token, _scaled(*self.product())
        if other != shown:
            raise NotationError(
                f"the ends of a halo have two indices, {shown!r} and {other!r}, expected the same",
                column=again.column,
                hint=f"write {shown}-1..{shown}+1",
            )
        first = self.next
        high, block = self.offset(), scale.code if isinstance(scale, Extent) else (scale,)
        above = self.size(first, self.next, [*high, *block, "-", 1, "+"])
        if result:
            raise NotationError("a result has a halo, and only operands have", column=column, hint=f"write {shown}")
        return Axis("split", index, below, above, scale, written=below == above == 0, column=column)

    def offset(self) -> list[str | int]:
        """The code of what is added to an index."""
        code: list[str | int] = [0]
        while self.token.text in ("+", "-"):
            symbol = self.take().text
            code += [*self.sum(ARITHMETIC[symbol][0], 1, _OFFSET), symbol]
        return code

    def size(self, first: int, end: int, code: Sequence[str | int]) -> Size:
        """What stands between two tokens: arithmetic, or its value where no name is in it."""
        found = Extent("".join(t.text for t in self.tokens[first:end]), tuple(code))
        if found.names:
            return found
        try:
            return found.computed({})
        except ShapeError as error:
            raise NotationError(error.problem, column=self.tokens[first].column, hint="write a number") from error

    def extent(self) -> Extent:
        start = self.next
        code = tuple(self.sum(0, depth=0))
        return Extent("".join(t.text for t in self.tokens[start : self.next]), code)

    def sum(self, strength: int, depth: int, what: tuple[str, str] = _EXTENT) -> Iterator[str | int]:
        # Precedence climbing; yields postfix code as it goes.
        yield from self.atom(depth, what)
        while self.token.text in ARITHMETIC and ARITHMETIC[self.token.text][0] > strength:
            symbol = self.take().text
            yield from self.sum(ARITHMETIC[symbol][0], depth + 1, what)
            yield symbol

    def atom(self, depth: int, what: tuple[str, str]) -> Iterator[str | int]:
        if depth > _DEEPEST:
            self.fail("a simpler extent", hint="compute it before the call, and pass it as a scalar")
        if self.accept("-"):
            yield from self.atom(depth + 1, what)
            yield "-neg"
        elif self.accept("("):
            yield from self.sum(0, depth + 1, what)
            self.expect(")", hint="close what '(' opens")
        elif self.token.kind == "int":
            yield self.integer()
        else:
            expected, hint = what
            if self.token.text == ":":
                hint = "write ':', and pass a slice of the array, x[::2]"
            yield self.name(expected, hint)


def _bracket_hint(name: str, got: str) -> str:
    if name in OPERATORS and got == "(":
        return f"write the operator before the result's name: {name} s[]"
    return f"write its axes in brackets, x[i,j]; a 0-d array is {name}[]"


def _check_names(operands: _Terms, results: _Terms) -> None:
    for side, terms in (("operand", operands), ("result", results)):
        seen: set[str | None] = set()
        for term in terms:
            if term.name and term.name in seen:
                raise NotationError(
                    f"{side} {term.name!r} is named twice", column=term.column, hint="give each array its own name"
                )
            seen.add(term.name)
            _check_diagonals(term, diagonal=side == "operand" and term.name is not None)
    stars = [t for t in operands if t.starred]
    if len(stars) > 1 or any(r.name == t.name for t in stars for r in results):
        raise NotationError(
            f"'*{stars[0].name}' stands for any number of operands, expected one such name, on the left alone",
            column=stars[-1].column,
            hint="name the other arrays one by one",
        )
    before = {t.name: t for t in operands if t.name}
    for term in results:
        if term.name not in before:
            continue
        if term.op:
            raise NotationError(
                f"{term.name!r} is read and written, and has the operator {term.op}",
                column=term.column,
                hint=f"give the result a name of its own, and pass out={term.name} to have it written there"
                if term.scan
                else "leave the operator out, or give the result a name of its own",
            )
        pair = before[term.name], term
        read, written = ([(a.kind, a.name, a.scale, a.extent, a.scan) for a in t.axes] for t in pair)
        if read != written:
            raise NotationError(
                f"{term.name!r} is read and written, and has other axes on the right of '->' than on the left",
                column=term.column,
                hint=f"write {before[term.name]} on both sides, or give the result a name of its own",
            )


def _check_diagonals(term: Term, *, diagonal: bool) -> None:
    """An index occurs once in an array, or twice where that is a diagonal."""
    seen: dict[str | None, list[Axis]] = {}
    for axis in term.axes:
        if axis.kind != "split":
            continue
        same = seen.setdefault(axis.name, [])
        same.append(axis)
        if len(same) > (2 if diagonal else 1):
            raise NotationError(
                f"index {axis.name!r} occurs {'three times' if diagonal else 'twice'} in "
                f"{repr(term.name) if term.name else 'the index space'}",
                column=axis.column,
                hint="an index occurs once per array, or twice in an operand, which is its diagonal; "
                f"a square one is {term.name}[{axis.name}, :{axis.name}]",
            )
        odd = next((a for a in same if a.window or a.scale != 1), None) if len(same) == 2 else None
        if odd is not None:
            raise NotationError(
                f"{term.name!r} has index {axis.name!r} twice, which is its diagonal, and {odd} beside it",
                column=odd.column,
                hint=f"a diagonal has no halo and no blocks: {term.name}[{axis.name}, {axis.name}]",
            )


def _check_sizes(operands: _Terms, results: _Terms) -> None:
    """No index is part of a block or a window, and numbers make one."""
    indices = indices_of((*operands, *results))
    for term in (*operands, *results):
        for axis in term.axes:
            odd = next((name for name in names_of(*axis.sizes) if name in indices), None)
            if odd is not None:
                raise NotationError(
                    f"index {odd!r} is part of the arithmetic of {axis} in {term.name!r}",
                    column=axis.column,
                    hint=f"{_LAST}; arithmetic is on numbers, scalar parameters and named whole axes",
                )
            why = "" if names_of(*axis.sizes) else wrong_sizes(*cast(tuple[int, int, int], axis.sizes))
            if why:
                raise NotationError(f"{term.name!r} has the axis {axis}: {why}", column=axis.column, hint=WINDOWS)


def _check_keys(operands: _Terms, results: _Terms) -> None:
    """Keys are operands that are read alone, and cut as they are; no other piece goes with them."""
    named = {t.name: t for t in operands if t.name}
    written = {t.name for t in results}
    for term in (*operands, *results):
        for axis in term.keys:
            key = str(axis.key)
            found = named.get(key)
            if found is None:
                index = key in indices_of((*operands, *results))
                raise NotationError(
                    f"'@{key}' names {key!r}, which is {'an index' if index else 'no operand'}",
                    column=axis.column,
                    hint="@ stands before an operand of integers, which are the places along the axis: "
                    "x[i], g[i] -> sum y[@g=n]",
                )
            if what := _why_not(found, written):
                raise NotationError(
                    f"'@{key}' names {key!r}, which {what}",
                    column=axis.column,
                    hint=f"keys are an operand that is read alone and cut as it is: {key}[i]",
                )
    for term in (*operands, *results):
        for n, axis in enumerate(term.axes if term.keys else ()):
            twice = axis.kind == "split" and axis in term.axes[:n]
            if (
                twice
                or not _is_plain(axis)
                or (term in results and axis.kind == "whole" and not (axis.name or axis.extent))
            ):
                raise NotationError(
                    f"{term.name!r} has keys, and the axis {axis} beside them",
                    column=axis.column,
                    hint="keys stand beside indices and whole axes, which have a name in results: y[@g=n, i, :k]",
                )
    for term in results:
        if term.keys and term.op not in _SCATTERS:
            raise NotationError(
                f"{term.name!r} has keys, and " + (f"the operator {term.op}" if term.op else "no operator"),
                column=term.column,
                hint=f"several elements can have one key: write {', '.join(_SCATTERS[:-1])} or {_SCATTERS[-1]} before "
                "the result",
            )


def _why_not(term: Term, written: Collection[str | None]) -> str:
    """What stands against keys in an operand; empty where nothing does."""
    if term.name in written:
        return "is written"
    if term.starred:
        return "stands for any number of operands"
    if term.keys:
        return "has keys itself"
    if term.diagonals:
        return "is read along its diagonal"
    return "" if all(map(_is_plain, term.axes)) else "has a halo or blocks"


def _is_plain(axis: Axis) -> bool:
    return axis.kind != "unknown" and axis.sizes == (0, 0, 1) and not (axis.window or axis.scan)


def _check_extents(operands: _Terms, results: _Terms) -> None:
    """Every extent follows from operands and scalars; those of indices from left to right."""
    terms = (*operands, *results)
    sized = [a for t in terms for a in t.axes if a.extent and a.name]
    defined = {a.name for t in operands if t.name for a in t.axes if a.kind == "split"} | {a.name for a in sized}
    whole = {a.name for t in operands for a in t.axes if a.kind == "whole"}
    for term in terms:
        for axis in term.axes:
            if axis.kind == "split" and axis.name not in defined:
                raise NotationError(
                    f"nothing gives the extent of index {axis.name!r} "
                    f"of {f'result {term.name!r}' if term.name else 'the index space'}",
                    column=axis.column,
                    hint=f"{axis.name!r} is the extent of a whole axis: write :{axis.name}"
                    if axis.name in whole
                    else f"use the index in an operand, or give its extent: {axis.name}=n",
                )
        if term.ellipsis and not any(t.ellipsis for t in operands):
            raise NotationError(
                f"'...' in result {term.name!r} has no operand to take its axes from",
                column=term.ellipsis.column,
                hint="use '...' in an operand too, or write the axes out",
            )
    later = {a.name for a in sized} - {
        a.name for t in operands if t.name for a in t.axes if a.kind in ("split", "whole")
    }
    for axis in sized:
        for name in axis.extent.names if axis.extent else ():
            if name in later:
                raise NotationError(
                    f"the extent of index {axis.name!r} uses {name!r}, whose own extent is not known before it",
                    column=axis.column,
                    hint=f"write {name}=... to the left of it, or give both extents by scalar parameters",
                )
        later.discard(axis.name)


def _check_reductions(operands: _Terms, results: _Terms) -> None:
    """What a result leaves out it combines, and nothing else; '?' stands along the only index, if there is one."""
    indices = indices_of((*operands, *results))
    free = any(t.ellipsis for t in operands)
    for term in results:
        unknown = next((a for a in term.axes if a.kind == "unknown"), None)
        held = {a.name for a in term.axes if a.kind == "split"}
        missing = [i for i in indices if i not in held]
        lost = [repr(i) for i in missing] + (["'...'"] if free and not term.ellipsis else [])
        if term.scan:
            _check_scan(term, lost)
            continue
        if unknown and term.op:
            raise NotationError(
                f"{term.op} of {term.name!r} combines nothing: tiles are joined along '?'",
                column=term.column,
                hint=f"write {term.name} without {term.op}",
            )
        if unknown and (len(indices) > 1 or free):
            split = " and ".join([*map(repr, indices), *(["'...'"] if free else [])])
            raise NotationError(
                f"a kernel with '?' splits {split}, expected at most one index and no '...'",
                column=unknown.column,
                hint="keep the other axes whole: x[i, :] -> y[?, :]",
            )
        if lost and not term.op and not unknown:
            raise NotationError(
                f"result {term.name!r} leaves out {', '.join(lost)} and does not say how to combine the tiles",
                column=term.column,
                hint=_ways_out(operands, term, missing),
            )
        if term.op and not (lost or term.keys):
            raise NotationError(
                f"{term.op} of {term.name!r} combines nothing: the result has every index",
                column=term.column,
                hint=f"write {term.name} without {term.op}, leave out the index to combine over, or scan it: ..i",
            )


def _check_scan(term: Term, lost: list[str]) -> None:
    """A scan is under an operator, over one index, and combines nothing else."""
    first, *more = [a for a in term.axes if a.scan]
    plain = f"{term.name}[{', '.join(map(str, term.axes))}]"
    if more:
        raise NotationError(
            f"result {term.name!r} scans {first.name!r} and {more[0].name!r}, expected one index",
            column=more[0].column,
            hint=f"write two kernels: the second scans the result of the first along {more[0].name}",
        )
    if not term.op:
        raise NotationError(
            f"result {term.name!r} scans {first.name!r} and does not say how to combine the elements",
            column=first.column,
            hint=f"write an operator, such as sum {plain}",
        )
    if lost:
        raise NotationError(
            f"{term.op} of {term.name!r} scans {first.name!r} and leaves out {', '.join(lost)}, "
            "expected every other index of the kernel",
            column=term.column,
            hint=f"write two kernels: one that combines {', '.join(lost)}, and one that scans its result",
        )


def _check_folds(results: _Terms) -> None:
    """All folds are scans of one index in one direction, or none is."""
    folds = [t for t in results if t.op == "fold"]
    first = folds[0].scan if folds else None
    for term in folds:
        scan = term.scan
        if (scan and (scan.name, scan.scan)) != (first and (first.name, first.scan)):
            raise NotationError(
                f"folded results {folds[0].name!r} and {term.name!r} are not scanned alike, "
                "and fold= merges both at once",
                column=term.column,
                hint=f"write {first or 'no scan'} in both, or make two kernels",
            )


def _scaled(scale: Size, index: str) -> str:
    return index if scale == 1 else f"{scale}*{index}"


def _slice(got: str, code: Sequence[str | int]) -> str:
    """The remedy where no index follows a factor."""
    if len(code) > 1 or isinstance(code[0], str):
        return _LAST
    if got == ":":
        return "the notation has no slices: write ':' for a whole axis, and pass a slice of the array"
    return f"write ':{code[0]}' for an axis that must have extent {code[0]}"


def _ways_out(operands: _Terms, term: Term, missing: list[str]) -> str:
    """Both ways out of a reduced index without an operator: an OP, or a whole axis."""
    plain = f"{term.name}[{', '.join(map(str, term.axes))}]"
    operand = next((t for t in operands if any(a.kind == "split" and a.name in missing for a in t.axes)), None)
    if operand is None:
        return f"write an operator, such as sum {plain}"
    axes = [f":{a.name}" if a.kind == "split" and a.name in missing else str(a) for a in operand.axes]
    uncut = f"{operand.name}[{', '.join(axes)}]"
    return f"write sum {plain} (or another operator) to combine, or {uncut} to keep the axis whole"
