"""Hooks inside functions: Python functions that call us without a frame of ours around them.

A wrapper puts a frame between a function and its caller, which ``warnings.warn(stacklevel=…)``,
``sys._getframe()`` and ``inspect.stack()`` of whatever runs below can see. So the function is compiled
again from its own source with a few calls in it, and the code is exchanged in place: same file, same
lines, same depth, the very same function object. Who holds a reference to it, an import of long ago
or another tool's wrapper, calls the new code as well.
"""

from __future__ import annotations

import ast
import inspect
import linecache
from functools import lru_cache
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_HOOK: Final = "<the hook of tracing>"
"""Stands in the source for the object whose methods are called, which no source can name."""
_FUTURES: Final = 0x1FE0000
"""Flags of a code object that say which ``from __future__`` imports it was compiled under."""
_WRAPPERS: Final = 20
"""Wrappers around one function that are followed."""


Later = tuple[str, "Callable[[], list[Inline]]"]
"""A module that may be loaded at any time, and what gives the hooks for it then."""


class InliningError(Exception):
    """The function has no source, or none that says what it does."""


def innermost(function: object) -> FunctionType:
    """Return the plain function that *function* is, or that others have wrapped into it.

    Raises:
        InliningError: If there is none.
    """
    for _ in range(_WRAPPERS):
        inner = getattr(function, "__wrapped__", None)
        if inner is None:
            break
        function = inner
    if type(function) is not FunctionType:
        raise InliningError(repr(type(function)))
    return function


class Around(NamedTuple):
    """What is put around the statements that call a local variable."""

    called: str
    """The name of the variable."""
    before: str
    returned: str
    raised: str


class Calls(NamedTuple):
    """Calls to put into a function, as Python source.

    In it ``hook`` is the hook, ``_value`` what is about to be returned and ``_error`` what is about to
    be raised, beside the local variables of the function. ``_tracing`` is free to be used.
    """

    before: str = ""
    """Statements to begin with."""
    returned: str = ""
    """An expression to return in the place of ``_value``."""
    raised: str = ""
    """A statement for each exception that leaves the function."""
    around: tuple[Around, ...] = ()


class Inline(NamedTuple):
    """A function and the calls of a hook to put into it."""

    function: object
    hook: object
    calls: Calls


def inlined(function: FunctionType, hook: object, calls: Calls) -> CodeType:
    """Return the code of *function* with *calls* of *hook* in it; the function stays as it is.

    Raises:
        InliningError: If it cannot be compiled again.
    """
    code = function.__code__
    linecache.getlines(code.co_filename, function.__globals__)  # Of an archive, too.
    try:
        made = _compiled(code, calls)
    except (SyntaxError, ValueError, IndexError) as error:
        raise InliningError(f"{code.co_qualname}: {error}") from error
    return _with_hook(made, hook)


def _definition(code: CodeType) -> ast.FunctionDef | ast.AsyncFunctionDef:
    """Return the source of *code* as a tree, each node in its place in the file."""
    first = code.co_firstlineno - 1
    lines = linecache.getlines(code.co_filename)[first:]
    # A block around it keeps the columns of a method; it begins on the line before.
    begin = "if True:\n" if lines[0][:1].isspace() else "\n"
    try:
        # The code's own table says how far it goes; to tokenize it would take longer.
        tree = ast.parse(begin + "".join(lines[: _last_line(code) - first]))
    except SyntaxError:
        tree = ast.parse(begin + "".join(inspect.getblock(lines)))
    ast.increment_lineno(tree, first - 1)
    definition = tree.body[0].body[0] if isinstance(tree.body[0], ast.If) else tree.body[0]
    if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        raise InliningError(f"{code.co_qualname} is not made by def")
    return definition


def _last_line(code: CodeType) -> int:
    ends = [end for _, end, *_ in code.co_positions() if end is not None]
    ends += [_last_line(each) for each in code.co_consts if type(each) is CodeType]
    return max(ends, default=code.co_firstlineno)


@lru_cache(maxsize=200)
def _compiled(code: CodeType, calls: Calls) -> CodeType:
    """Return the new code with a constant that stands for the hook."""
    definition = _definition(code)
    _insert(definition, calls)
    return _compiled_as(definition, code)


def transplanted(function: FunctionType, into: FunctionType, **others: object) -> CodeType:
    """Return code that does what *function* does, to be the code of *into*.

    What *function* takes from its module and from around it, its new code takes from a hook; *others*
    are put into the place of some of it.

    Raises:
        InliningError: If it cannot be compiled again.
    """
    code = function.__code__
    closure = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    hook = _Names()
    vars(hook).update(function.__globals__)
    vars(hook).update({name: cell.cell_contents for name, cell in closure.items()}, **others)
    linecache.getlines(code.co_filename, function.__globals__)
    try:
        definition = _definition(code)
        outside = (set(closure) | set(function.__globals__)) - _locals(code)
        definition = _FromHook(outside).visit(definition)
        return _with_hook(_compiled_as(definition, into.__code__, code.co_filename), hook)
    except (SyntaxError, ValueError, IndexError) as error:
        raise InliningError(f"{code.co_qualname}: {error}") from error


def passing(into: FunctionType, to: object) -> CodeType:
    """Return code that passes a dispatch on to ``to.send()``, to be the code of *into*."""
    is_async = bool(into.__code__.co_flags & inspect.CO_COROUTINE)
    source = "def send(self, sender, **named): return hook.send(self, sender, **named)"
    if is_async:
        source = f"async {source.replace('return', 'return await')}"
    place = ast.Pass(lineno=into.__code__.co_firstlineno, col_offset=0)
    (definition,) = _statements(source, place)
    return _with_hook(_compiled_as(definition, into.__code__), to)  # type: ignore[arg-type]


class _Names:
    """The names that a transplanted function knew in its own place."""


def _locals(code: CodeType) -> set[str]:
    found = {*code.co_varnames, *code.co_cellvars}
    return found.union(*(_locals(each) for each in code.co_consts if type(each) is CodeType))


def _compiled_as(
    definition: ast.FunctionDef | ast.AsyncFunctionDef, code: CodeType, filename: str = ""
) -> CodeType:
    """Return the code of *definition*, which can be put into the place of *code*."""
    name = definition.name
    _without_defaults(definition)
    # What it takes from around it, ``__class__`` of super() included, is taken from there again.
    around = ast.parse(f"def around({', '.join(code.co_freevars)}): pass").body[0]
    around.body = [definition]  # type: ignore[attr-defined]
    module = ast.fix_missing_locations(ast.Module([around], []))
    flags = code.co_flags & _FUTURES
    file = filename or code.co_filename
    outer = compile(module, file, "exec", flags=flags, dont_inherit=True)
    made = _function_in(_function_in(outer, "around"), name)
    arguments = made.co_argcount + made.co_kwonlyargcount
    if (
        made.co_freevars != code.co_freevars
        or made.co_varnames[:arguments] != code.co_varnames[:arguments]
    ):
        raise InliningError(f"{code.co_qualname} is not what its source says")
    return made.replace(co_name=code.co_name, co_qualname=code.co_qualname)


def _without_defaults(definition: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Take out what is evaluated around the function: it belongs to the function, not to its code."""
    arguments = definition.args
    arguments.defaults = []
    arguments.kw_defaults = [None] * len(arguments.kwonlyargs)
    definition.returns = None
    for argument in ast.walk(arguments):
        if isinstance(argument, ast.arg):
            argument.annotation = None


def _insert(definition: ast.FunctionDef | ast.AsyncFunctionDef, calls: Calls) -> None:
    body = definition.body
    begins_with = body[:1] if ast.get_docstring(definition, clean=False) is not None else []
    body = body[len(begins_with) :]
    if calls.around:
        transformer = _CallStatements(calls.around)
        body = [each for statement in body for each in transformer.list_of(statement)]
    if calls.returned:
        returns = _Returns(calls.returned)
        body = [returns.visit(statement) for statement in body]
        if not isinstance(body[-1], ast.Return):
            body.append(returns.visit(ast.copy_location(ast.Return(None), body[-1])))
    if calls.raised:
        body = [_guarded(body, definition, calls.raised, "")]
    definition.body = begins_with + _statements(calls.before, definition) + body


def _guarded(body: list[ast.stmt], place: ast.stmt, raised: str, returned: str) -> ast.stmt:
    (guarded,) = _statements(f"try: 0\nexcept BaseException as _error:\n {raised}\n raise", place)
    # Where somebody interrupts what is done at the end, it is done once more.
    guarded.body = [*body, *_statements(returned, place)]  # type: ignore[attr-defined]
    return guarded


def _statements(source: str, place: ast.stmt) -> list[ast.stmt]:
    """Return the statements of *source*, all of them on the line where *place* begins."""
    found = [_HookName().visit(statement) for statement in ast.parse(source).body]
    line, column = place.lineno, place.col_offset
    at = {"lineno": line, "end_lineno": line, "col_offset": column, "end_col_offset": column}
    for node in (node for statement in found for node in ast.walk(statement)):
        if "lineno" in node._attributes:
            vars(node).update(at)
    return found


class _HookName(ast.NodeTransformer):
    """Put the constant that stands for the hook into the place of its name."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.Constant(_HOOK) if node.id == "hook" else node


class _FromHook(ast.NodeTransformer):
    """Take names from the hook."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._names or not isinstance(node.ctx, ast.Load):
            return node
        return ast.copy_location(ast.Attribute(ast.Constant(_HOOK), node.id, ast.Load()), node)


class _OwnLevel(ast.NodeTransformer):
    """Leave alone what is defined within the function."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return node

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return node


class _Returns(_OwnLevel):
    """Put what is returned through an expression."""

    def __init__(self, expression: str) -> None:
        self._expression = expression

    def visit_Return(self, node: ast.Return) -> ast.Return:
        (statement,) = _statements(self._expression, node)
        value = node.value if node.value is not None else ast.Constant(None)
        expression = _Value(value).visit(statement.value)  # type: ignore[attr-defined]
        return ast.copy_location(ast.Return(expression), node)


class _CallStatements(_OwnLevel):
    """Put statements around those that call a certain variable."""

    def __init__(self, around: tuple[Around, ...]) -> None:
        self._around = {each.called: each for each in around}

    def list_of(self, statement: ast.stmt) -> list[ast.stmt]:
        found = self.visit(statement)
        return found if isinstance(found, list) else [found]

    def visit_Expr(self, node: ast.Expr) -> Any:
        return self._visit_call(node)

    def visit_Assign(self, node: ast.Assign) -> Any:
        return self._visit_call(node)

    def _visit_call(self, node: ast.Expr | ast.Assign) -> Any:
        called = node.value.func if isinstance(node.value, ast.Call) else None
        around = self._around.get(called.id) if isinstance(called, ast.Name) else None
        if around is None:
            return node
        guarded = _guarded([node], node, around.raised, around.returned)
        return [*_statements(around.before, node), guarded]


class _Value(ast.NodeTransformer):
    """Put an expression into the place of the name ``_value``."""

    def __init__(self, value: ast.expr) -> None:
        self._value = value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._value if node.id == "_value" else node


def _function_in(code: CodeType, name: str) -> CodeType:
    return next(each for each in code.co_consts if type(each) is CodeType and each.co_name == name)


def _with_hook(code: CodeType, hook: object) -> CodeType:
    """Return *code*, and what is defined in it, with *hook* in the place of its name."""
    consts = tuple(
        hook
        if type(each) is str and each == _HOOK
        else _with_hook(each, hook)
        if type(each) is CodeType
        else each
        for each in code.co_consts
    )
    return code.replace(co_consts=consts)
