"""Hooks inside functions, without a frame of ours around them.

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
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from operator import itemgetter
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple

from tracing.patterns import pattern

_HOOK: Final = "<the hook of tracing>"
"""Stands in the source for the object whose methods are called, which no source can name."""
_HOOK_NAME: Final = pattern(r"\bhook\b")
_FUTURES: Final = 0x1FE0000
"""Flags of a code object that say which ``from __future__`` imports it was compiled under."""
_WRAPPERS: Final = 20
"""Wrappers around one function that are followed."""


Later = tuple[str, "Callable[[], list[Inline]]"]
"""A module that may be loaded at any time, and what gives the hooks for it then."""


class InliningError(Exception):
    """The function has no source, or none that says what it does."""


def innermost(function: object) -> FunctionType:
    """Return the plain function that *function* is or wraps.

    Raises:
        InliningError: If there is none.
    """
    for _ in range(_WRAPPERS):
        inner = getattr(function, "__wrapped__", None)
        if inner is None and type(function) is FunctionType:
            inner = behind(function)
        if inner is None:
            break
        function = inner
    if type(function) is not FunctionType:
        raise InliningError(repr(type(function)))
    return function


def behind(function: FunctionType) -> FunctionType | None:
    """Return the copy that code put into *function* calls in its place.

    So do tools that leave the function where it is, as Datadog's. None if its code is its own.
    """
    name = function.__qualname__
    for each in function.__code__.co_consts:
        if type(each) is FunctionType and each.__qualname__ == name:
            return each
    return None


def code_of(function: object) -> CodeType | None:
    """Return the code of what *function* is or wraps, None if no function."""
    try:
        return innermost(function).__code__
    except InliningError:
        return None


def locals_of(function: object) -> tuple[str, ...]:
    """Return the local names of what *function* wraps; none if no function."""
    code = code_of(function)
    return code.co_varnames if code is not None else ()


class Around(NamedTuple):
    """The statements put around those that call a local variable."""

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
    """Return the code of *function* with *calls* of *hook* in it.

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
    """Return the source of *code* as a tree, at its place in the file."""
    first = code.co_firstlineno - 1
    lines = linecache.getlines(code.co_filename)[first:]
    # A block around it keeps the columns of a method; it begins on the line before. With as many lines
    # in front as in the file, each node is in its place at once.
    begin = "\n" * (first - 1) + "if True:\n" if lines[0][:1].isspace() else "\n" * first
    try:
        # The code's own table says how far it goes; to tokenize it would take longer.
        tree = ast.parse(begin + "".join(lines[: _last_line(code) - first]))
    except SyntaxError:
        tree = ast.parse(begin + "".join(inspect.getblock(lines)))
    definition = tree.body[0].body[0] if isinstance(tree.body[0], ast.If) else tree.body[0]
    if not isinstance(definition, ast.FunctionDef | ast.AsyncFunctionDef):
        raise InliningError(f"{code.co_qualname} is not made by def")
    return definition


def _last_line(code: CodeType) -> int:
    last = max(filter(None, map(itemgetter(1), code.co_positions())), default=code.co_firstlineno)
    inner = (_last_line(each) for each in code.co_consts if type(each) is CodeType)
    return max((last, *inner))


@lru_cache(maxsize=200)
def _compiled(code: CodeType, calls: Calls) -> CodeType:
    """Return the new code with a constant that stands for the hook."""
    definition = _definition(code)
    _insert(definition, calls)
    return _compiled_as(definition, code)


Change = Callable[[Any], Any]
"""Returns the tree of a definition with something more in it."""


class Addition(NamedTuple):
    """Something more in the send loops, for a setting."""

    setting: str
    change: Change
    names: dict[str, Any]
    """What the change takes from ``hook``."""


def together(additions: list[Addition]) -> tuple[Change, dict[str, Any]]:
    """Return the change that makes all *additions*, and all their names."""

    def change(definition: Any) -> Any:
        for addition in additions:
            definition = addition.change(definition)
        return definition

    return change, {name: value for each in additions for name, value in each.names.items()}


def changed(function: FunctionType, change: Change, names: dict[str, Any]) -> CodeType:
    """Return the code of *function* after a *change*; it stays as it is.

    Args:
        function: The function.
        change: Called with its definition.
        names: What the change takes from ``hook``.

    Raises:
        InliningError: If it cannot be compiled again.
    """
    code, hook = function.__code__, _Names()
    vars(hook).update(names)
    linecache.getlines(code.co_filename, function.__globals__)
    try:
        definition = change(_definition(code))
        return _with_hook(_compiled_as(definition, code), hook)
    except (SyntaxError, ValueError, IndexError) as error:
        raise InliningError(f"{code.co_qualname}: {error}") from error


def transplanted(
    function: FunctionType,
    into: FunctionType,
    change: Change,
    names: dict[str, Any],
    **others: object,
) -> CodeType:
    """Return code that does what *function* does, to be the code of *into*.

    What *function* takes from its module and from around it, its new code takes from a hook; *others*
    are put into the place of some of it. The *change* that was made to it with *names* is made here as well.

    Raises:
        InliningError: If it cannot be compiled again.
    """
    code = function.__code__
    closure = dict(zip(code.co_freevars, function.__closure__ or (), strict=True))
    hook = _Names()
    vars(hook).update(function.__globals__)
    vars(hook).update(
        {name: cell.cell_contents for name, cell in closure.items()}, **names, **others
    )
    linecache.getlines(code.co_filename, function.__globals__)
    try:
        definition = change(_definition(code))
        outside = (set(closure) | set(function.__globals__)) - _locals(code)
        definition = _FromHook(outside).visit(definition)
        return _with_hook(_compiled_as(definition, into.__code__, code.co_filename), hook)
    except (SyntaxError, ValueError, IndexError) as error:
        raise InliningError(f"{code.co_qualname}: {error}") from error


def passing(into: FunctionType, to: object) -> CodeType:
    """Return code for *into* that passes a dispatch on to ``to.send()``."""
    is_async = bool(into.__code__.co_flags & inspect.CO_COROUTINE)
    source = "def send(self, sender, **named): return hook.send(self, sender, **named)"
    if is_async:
        source = f"async {source.replace('return', 'return await')}"
    place = ast.Pass(lineno=into.__code__.co_firstlineno, col_offset=0)
    (definition,) = statements_at(source, place)
    return _with_hook(_compiled_as(definition, into.__code__), to)  # type: ignore[arg-type]


class _Names:
    """The names that a transplanted function knew in its own place."""


def _locals(code: CodeType) -> set[str]:
    found = {*code.co_varnames, *code.co_cellvars}
    return found.union(*(_locals(each) for each in code.co_consts if type(each) is CodeType))


def _compiled_as(
    definition: ast.FunctionDef | ast.AsyncFunctionDef, code: CodeType, filename: str = ""
) -> CodeType:
    """Return the code of *definition*, fit for the place of *code*."""
    name = definition.name
    _without_defaults(definition)
    # What it takes from around it, ``__class__`` of super() included, is taken from there again.
    around = ast.parse(f"def around({', '.join(code.co_freevars)}): pass").body[0]
    around.body = [definition]  # type: ignore[attr-defined]
    flags = code.co_flags & _FUTURES
    file = filename or code.co_filename
    outer = compile(ast.Module([around], []), file, "exec", flags=flags, dont_inherit=True)
    made = _function_in(_function_in(outer, "around"), name)
    arguments = made.co_argcount + made.co_kwonlyargcount
    if (
        made.co_freevars != code.co_freevars
        or made.co_varnames[:arguments] != code.co_varnames[:arguments]
    ):
        raise InliningError(f"{code.co_qualname} is not what its source says")
    return made.replace(co_name=code.co_name, co_qualname=code.co_qualname)


def _without_defaults(definition: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
    """Take out what is evaluated around the function, as defaults."""
    arguments = definition.args
    arguments.defaults = []
    arguments.kw_defaults = [None] * len(arguments.kwonlyargs)
    definition.returns = None
    named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
    for argument in (*named, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None


def _insert(definition: ast.FunctionDef | ast.AsyncFunctionDef, calls: Calls) -> None:
    body = definition.body
    begins_with = body[:1] if ast.get_docstring(definition, clean=False) is not None else []
    body = body[len(begins_with) :]
    if calls.around:
        body = _each(body, partial(_around_calls, {each.called: each for each in calls.around}))
    if calls.returned:
        if not isinstance(body[-1], ast.Return):
            body = [*body, ast.copy_location(ast.Return(None), body[-1])]
        body = _each(body, partial(_returning, calls.returned))
    if calls.raised:
        body = [_guarded(body, definition, calls.raised, "")]
    definition.body = begins_with + statements_at(calls.before, definition) + body


def _guarded(body: list[ast.stmt], place: ast.stmt, raised: str, returned: str) -> ast.stmt:
    (guarded,) = statements_at(f"try: 0\nexcept BaseException as _error:\n {raised}\n raise", place)
    # Where somebody interrupts what is done at the end, it is done once more.
    guarded.body = [*body, *statements_at(returned, place)]  # type: ignore[attr-defined]
    return guarded


def statements_at(source: str, place: ast.stmt) -> list[ast.stmt]:
    """Return the statements of *source*, all on the line of *place*."""
    found = ast.parse(_HOOK_NAME.sub(repr(_HOOK), source)).body
    line, column = place.lineno, place.col_offset
    at = {"lineno": line, "end_lineno": line, "col_offset": column, "end_col_offset": column}
    _put(found, at)
    return found


def _put(nodes: Iterable[ast.AST], at: dict[str, int]) -> None:
    """Give *nodes*, and those in them, a place."""
    for node in nodes:
        values = vars(node)
        for value in values.values():
            if isinstance(value, ast.AST):
                _put((value,), at)
            elif type(value) is list:
                _put(value, at)
        if node._attributes:
            values.update(at)


class _FromHook(ast.NodeTransformer):
    """Take names from the hook."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if node.id not in self._names or not isinstance(node.ctx, ast.Load):
            return node
        hook = ast.copy_location(ast.Constant(_HOOK), node)
        return ast.copy_location(ast.Attribute(hook, node.id, ast.Load()), node)


def _each(
    statements: list[ast.stmt], change: Callable[[ast.stmt], list[ast.stmt]]
) -> list[ast.stmt]:
    """Return *statements* as a *change* makes them, those within them first.

    What is defined within the function is left alone. Expressions hold no statements and are not
    looked into.
    """
    found: list[ast.stmt] = []
    for statement in statements:
        if not isinstance(statement, _SCOPES):
            for name in _BLOCKS:
                if inner := getattr(statement, name, None):
                    setattr(statement, name, _each(inner, change))
        found += change(statement)
    return found


_SCOPES: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_BLOCKS: Final = ("body", "orelse", "finalbody", "handlers", "cases")
"""Where statements hold statements, or handlers and cases that do."""


def _returning(expression: str, node: ast.stmt) -> list[ast.stmt]:
    """Return *node*, with what it returns put through *expression*."""
    if not isinstance(node, ast.Return):
        return [node]
    (statement,) = statements_at(expression, node)
    value = node.value or ast.copy_location(ast.Constant(None), statement)
    through = _Value(value).visit(statement.value)  # type: ignore[attr-defined]
    return [ast.copy_location(ast.Return(through), node)]


def _around_calls(around: dict[str, Around], node: ast.stmt) -> list[ast.stmt]:
    """Return *node* between the statements of its variable, if it calls one."""
    call = node.value if isinstance(node, ast.Expr | ast.Assign) else None
    called = call.func if isinstance(call, ast.Call) else None
    each = around.get(called.id) if isinstance(called, ast.Name) else None
    if each is None:
        return [node]
    guarded = _guarded([node], node, each.raised, each.returned)
    return [*statements_at(each.before, node), guarded]


class _Value(ast.NodeTransformer):
    """Put an expression into the place of the name ``_value``."""

    def __init__(self, value: ast.expr) -> None:
        self._value = value

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return self._value if node.id == "_value" else node


def _function_in(code: CodeType, name: str) -> CodeType:
    return next(each for each in code.co_consts if type(each) is CodeType and each.co_name == name)


def _with_hook(code: CodeType, hook: object) -> CodeType:
    """Return *code*, with *hook* in place of its name at any depth."""
    consts = tuple(
        hook
        if type(each) is str and each == _HOOK
        else _with_hook(each, hook)
        if type(each) is CodeType
        else each
        for each in code.co_consts
    )
    return code.replace(co_consts=consts)
