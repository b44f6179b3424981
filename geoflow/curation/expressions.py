"""Conditions on the columns of a table, as Python writes them: parsed by Python, computed by Arrow."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from geoflow.errors import ConfigError
from geoflow.values.packages import package

if TYPE_CHECKING:
    import pyarrow as pa

_COMPARES: dict[type, Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda left, right: left.isin(right),
    ast.NotIn: lambda left, right: ~left.isin(right),
}
_SUMS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def filtered(table: pa.Table, where: str) -> pa.Table:
    """Return the rows of a table for which a condition is true, such as `quality > 0.6 and hands_visible > 0.5`.

    It is written with and, or, not, comparisons, `in`, `is None`, + - * /, numbers, texts in quotes, and names of
    columns. What is unknown (null) fulfils no comparison, nor its opposite.

    Raises ConfigError that shows the place, or lists the columns, for a condition that cannot be.
    """
    pa = package("pyarrow", "pyarrow", "choosing from the tables of a run")
    expression = _Parser(where, table.column_names).expression()
    try:
        return table.filter(expression)
    except (pa.ArrowException, TypeError) as error:
        said = str(error).splitlines()[0]
        kinds = ", ".join(f"{name} ({table.schema.field(name).type})" for name in _names(where))
        raise ConfigError(f"--where {where!r} is no condition on these columns: {said}; they are: {kinds}") from None


def _names(where: str) -> list[str]:
    """Return the names in a condition that Python can parse."""
    found = (node.id for node in ast.walk(ast.parse(where.strip(), mode="eval")) if isinstance(node, ast.Name))
    return list(dict.fromkeys(found))


class _Parser:
    """Makes an Arrow expression from the syntax tree of a condition."""

    def __init__(self, where: str, columns: Sequence[str]) -> None:
        self._where, self._columns = where.strip(), columns
        self._pc = package("pyarrow.compute", "pyarrow", "choosing from the tables of a run")

    def expression(self) -> Any:
        try:
            tree = ast.parse(self._where, mode="eval")
        except (SyntaxError, ValueError) as error:
            at = f" at {self._where[(error.offset or 1) - 1 :][:20]!r}" if isinstance(error, SyntaxError) else ""
            raise self._wrong(f"it cannot be read{at}; write it as in: quality > 0.6 and hands_visible > 0.5") from None
        if isinstance(tree.body, ast.Constant):
            raise self._wrong("it names no column")
        return self._of(tree.body)

    def _of(self, node: ast.expr) -> Any:
        match node:
            case ast.BoolOp(op=op, values=values):
                terms = [self._of(value) for value in values]
                joined = terms[0]
                for term in terms[1:]:
                    joined = joined & term if isinstance(op, ast.And) else joined | term
                return joined
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return ~self._of(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._pc.scalar(0) - self._of(operand)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _SUMS:
                return _SUMS[type(op)](self._of(left), self._of(right))
            case ast.Compare():
                return self._comparison(node)
            case ast.Name(id=name):
                return self._column(name)
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return self._pc.scalar(value)
        raise self._wrong(f"{ast.unparse(node)!r} cannot stand in it")

    def _comparison(self, node: ast.Compare) -> Any:
        found, left = None, node.left
        for op, right in zip(node.ops, node.comparators):
            term = self._compared(left, op, right)
            found = term if found is None else found & term
            left = right
        return found

    def _compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> Any:
        here = self._of(left)
        if isinstance(right, ast.Constant) and right.value is None:
            if isinstance(op, ast.Is | ast.IsNot):
                return here.is_null() if isinstance(op, ast.Is) else here.is_valid()
            raise self._wrong(f"write {ast.unparse(left)} is None")
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.List | ast.Tuple | ast.Set):
                raise self._wrong("behind `in` there should be a list, such as ['a', 'b']")
            values = [self._listed(item) for item in right.elts]
            term = _COMPARES[type(op)](here, values)
            return term & here.is_valid()  # what is unknown is in no list, and is not outside it either
        if type(op) not in _COMPARES:
            raise self._wrong(f"{ast.unparse(right)} cannot be compared so; use <, <=, >, >=, ==, != or in")
        return _COMPARES[type(op)](here, self._of(right))

    def _listed(self, node: ast.expr) -> Any:
        try:
            value = ast.literal_eval(node)
        except ValueError:
            value = None
        if not isinstance(value, bool | int | float | str):
            raise self._wrong(f"{ast.unparse(node)} in a list should be a number, or a text in quotes")
        return value

    def _column(self, name: str) -> Any:
        if name not in self._columns:
            raise self._wrong(f"there is no column {name!r}; there are: {', '.join(self._columns)}")
        return self._pc.field(name)

    def _wrong(self, what: str) -> ConfigError:
        return ConfigError(f"--where {self._where!r}: {what}")
