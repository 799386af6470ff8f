"""The program's source to every event that it can log, with its levels."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LEVELS = frozenset({"debug", "info", "warning", "error", "critical", "exception"})


class Unreadable(AssertionError):
    """A line is logged whose event cannot be told without running the program."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    event: str
    level: str | None
    """None: decided while it runs."""
    place: str


def said_below(directory: Path) -> Iterator[Said]:
    """Every event that is logged there. Raises Unreadable."""
    for path in sorted(directory.rglob("*.py")):
        yield from said_in(path.read_text("utf-8"), str(path.relative_to(directory.parent)))


def said_in(source: str, place: str) -> Iterator[Said]:
    module = _Module(ast.parse(source))
    for node, function in module.nodes:
        where = f"{place}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and (levels := module.levels(node.func)):
            if not node.args or not (events := set(module.texts(node.args[0], function))):
                raise Unreadable(f"{where}: {ast.unparse(node.func)} says an event that only running tells")
            yield from (Said(event=event, level=level, place=where) for event in events for level in levels)
        elif isinstance(node, ast.Dict):  # a line that is put together by hand
            for key, value in zip(node.keys, node.values, strict=True):
                match key, value:
                    case ast.Constant(value="event"), ast.Constant(value=str(event)):
                        yield Said(event=event, level=None, place=where)


_Function = ast.FunctionDef | ast.AsyncFunctionDef


class _Module:
    def __init__(self, tree: ast.Module) -> None:
        self.nodes = list(_with_functions(tree, None))
        self._aliases = {
            target.id: levels
            for node, _ in self.nodes
            if isinstance(node, ast.Assign) and not isinstance(node.value, ast.Call)
            for target in node.targets
            if isinstance(target, ast.Name) and (levels := set(_levels_named_in(node.value)))
        }

    def levels(self, function: ast.expr) -> set[str | None]:
        """The levels at which a call of it logs; none: it does not log."""
        match function:
            case ast.Attribute(value=value, attr=attr) if attr in LEVELS and _is_logger(value):
                return {attr}
            case ast.IfExp():
                return {*_levels_named_in(function)}
            case ast.Name(id=name) if name in self._aliases:
                return {*self._aliases[name]}
            case ast.Call(func=ast.Name(id="getattr"), args=[ast.Name(id="log"), *_]):
                return {None}
            case _:
                return set()

    def texts(self, value: ast.expr, function: _Function | None) -> Iterator[str]:
        """What `value` can be; nothing: there is no telling."""
        match value:
            case ast.Constant(value=str(text)):
                yield text
            case ast.IfExp(body=body, orelse=other):
                yield from self.texts(body, function)
                yield from self.texts(other, function)
            case ast.Name(id=name):
                yield from self._assigned(name)
                yield from self._passed(name, function)

    def _assigned(self, name: str) -> Iterator[str]:
        for node, function in self.nodes:
            match node:
                case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                    yield from self.texts(value, function)

    def _passed(self, name: str, function: _Function | None) -> Iterator[str]:
        """What callers in this module give for the parameter."""
        if function is None or name not in (names := [each.arg for each in function.args.args if each.arg != "self"]):
            return
        for node, caller in self.nodes:
            if isinstance(node, ast.Call) and _last_name(node.func) == function.name:
                given = {each.arg: each.value for each in node.keywords} | dict(zip(names, node.args, strict=False))
                if name in given:
                    yield from self.texts(given[name], caller)


def _with_functions(node: ast.AST, function: _Function | None) -> Iterator[tuple[ast.AST, _Function | None]]:
    for child in ast.iter_child_nodes(node):
        yield child, function
        yield from _with_functions(child, child if isinstance(child, _Function) else function)


def _levels_named_in(value: ast.expr) -> Iterator[str]:
    for node in ast.walk(value):
        if isinstance(node, ast.Attribute) and node.attr in LEVELS and _is_logger(node.value):
            yield node.attr


def _is_logger(value: ast.expr) -> bool:
    called = value.func if isinstance(value, ast.Call) else value
    return _last_name(called) in {"log", "logger", "get_logger"}


def _last_name(value: ast.expr) -> str:
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""
