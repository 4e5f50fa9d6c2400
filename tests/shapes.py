"""What docstrings say of shapes is true: while tests run, every call is compared with them.

An entry under `Args`, `Attributes` or `Returns` that begins with a dtype and a shape, as `labels: int64[N]`, is a
claim; so is the end of a one-line docstring, as `"The sum so far: float64[d]."`. A letter or name stands for one size
in all of a call; the name of a whole number among the arguments stands for that number; `...` and `*shape` for any.
"""

import functools
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

PACKAGES = ("silogan.client.", "silogan.common.", "silogan.server.")
CLAIMS: set[str] = set()
"""Where a claim was found: `module.function argument`."""

_DTYPES = "float32|float64|float|int64|uint8|bool"
_SECTION = re.compile(r"^ *(Args|Attributes|Returns):\n(.*?)(?=^ *(?:[A-Z]\w+):\n|\Z)", re.M | re.S)
# An entry of two claims, one or the other, is none that can be compared.
_ENTRY = re.compile(rf"^ +(\w+): ({_DTYPES})\[([^\]]*)\](?!.*(?:{_DTYPES})\[)", re.M)
_RESULT = re.compile(rf"\A\s*({_DTYPES})\[([^\]]*)\]")
_LINE = re.compile(rf"\A[^\n]*[:,] ({_DTYPES})\[([^\]]*)\]\.?\Z")


class Claim(NamedTuple):
    """A dtype and the sizes of a shape, as they are written."""

    dtype: str
    sizes: tuple[str, ...]

    def problem(self, value: Any, known: dict[str, int]) -> str:
        """Why a value is not so; empty if it is. Sizes that are met are added to those that are known."""
        dtype, shape = str(value.dtype).removeprefix("torch."), tuple(value.shape)
        if not dtype.startswith(self.dtype):
            return f"is {dtype}, not {self.dtype}"
        free = [at for at, size in enumerate(self.sizes) if size == "..." or size.startswith("*")]
        before, after = (free[0], len(self.sizes) - free[0] - 1) if free else (len(self.sizes), 0)
        if len(shape) < before + after or (not free and len(shape) != before):
            return f"has the shape {shape}, not {list(self.sizes)}"
        ends = [*zip(self.sizes[:before], shape, strict=False)]
        ends += zip(self.sizes[len(self.sizes) - after :], shape[len(shape) - after :], strict=True)
        for size, found in ends:
            wanted = int(size) if size.isdecimal() else known.setdefault(size, found) if size.isidentifier() else found
            if wanted != found:
                return f"has the shape {shape}, where {size} is {wanted} in {list(self.sizes)}"
        return ""


def claims(doc: str, *sections: str) -> dict[str, Claim]:
    """The claims of a docstring's sections, by name; that of the result has none."""
    found: dict[str, Claim] = {}
    doc = inspect.cleandoc(doc)
    for section, text in _SECTION.findall(f"{doc}\n"):
        if section not in sections:
            continue
        entries = _ENTRY.findall(text) if section != "Returns" else [("", *one) for one in _RESULT.findall(text)]
        found |= {name: _claim(dtype, sizes) for name, dtype, sizes in entries}
    if "Returns" in sections and (line := _LINE.match(doc)):
        found[""] = _claim(*line.groups())
    return found


def checked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, which raises `AssertionError` where a call is not as its docstring says."""
    wanted = claims(function.__doc__ or "", "Args", "Returns")
    signature = inspect.signature(function)
    wanted = {name: claim for name, claim in wanted.items() if not name or name in signature.parameters}
    if not wanted or inspect.isgeneratorfunction(function):
        return function
    _remember(function, wanted)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        known = {name: value for name, value in given.items() if type(value) is int}
        _check(function, wanted, given, known)
        result = function(*args, **kwargs)
        _check(function, wanted, {"": result}, known)
        return result

    return call


def check_class(cls: type) -> None:
    """Wraps the methods that a class defines, and what it is made with."""
    for name, found in list(vars(cls).items()):
        kind = type(found) if isinstance(found, staticmethod | classmethod) else None
        function = found.__func__ if kind else found
        if isinstance(function, FunctionType) and not name.startswith("__"):
            made = checked(function)
            if made is not function:
                setattr(cls, name, kind(made) if kind else made)
    wanted = claims(cls.__doc__ or "", "Attributes")
    if wanted and "__init__" in vars(cls):
        _remember(cls, wanted)
        made_with: Callable[..., None] = vars(cls)["__init__"]

        @functools.wraps(made_with)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            made_with(self, *args, **kwargs)
            _check(cls, wanted, {name: getattr(self, name) for name in wanted}, {})

        cls.__init__ = init  # type: ignore[misc]


def check_module(module: ModuleType) -> None:
    """Wraps what a module defines."""
    for name, found in list(vars(module).items()):
        if getattr(found, "__module__", None) != module.__name__:
            continue
        if isinstance(found, FunctionType):
            setattr(module, name, checked(found))
        elif inspect.isclass(found):
            check_class(found)


def check_imports() -> None:
    """Has every module of the product checked that is imported from now on."""
    sys.meta_path.insert(0, _Finder())


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        check_module(module)


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(PACKAGES):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _claim(dtype: str, sizes: str) -> Claim:
    return Claim(dtype, tuple(size.strip() for size in sizes.split(",")) if sizes.strip() else ())


def _remember(what: Callable[..., Any], wanted: Mapping[str, Claim]) -> None:
    CLAIMS.update(f"{what.__module__}.{what.__qualname__} {name}" for name in wanted)


def _check(what: Any, wanted: Mapping[str, Claim], given: Mapping[str, Any], known: dict[str, int]) -> None:
    for name, claim in wanted.items():
        value = given.get(name)
        if hasattr(value, "dtype") and (problem := claim.problem(value, known)):
            raise AssertionError(
                f"{name or 'the result'} of {what.__qualname__} {problem}: its docstring says otherwise"
            )
