"""The keys of the `data` section that several readers ask for in the same way."""

from pathlib import Path

from silogan.common.errors import ConfigError
from silogan.common.modality import Data


def required_root(data: Data, what: str) -> Path:
    """`data.root`, which the source cannot do without; `what` says what it has to be, as "the folder of ...".

    Raises:
        ConfigError: it is not given.
    """
    if data.root is None:
        raise ConfigError("data.root", f"is missing for source '{data.source}'", f"set it to {what}")
    return data.root.expanduser()


def declared_classes(data: Data) -> tuple[str, ...]:
    """The class names that the scenario declares, for a source that has none of its own.

    Raises:
        ConfigError: there are none, or one is empty or given twice.
    """
    if not data.classes:
        problem = f"is missing: '{data.source}' has no public class names for this data"
        raise ConfigError("data.classes", problem, "list the class names in label order")
    if not all(data.classes) or len(set(data.classes)) < len(data.classes):
        raise ConfigError("data.classes", "has an empty or repeated name", "give each class one name")
    return data.classes


def own_classes(data: Data, names: tuple[str, ...]) -> tuple[str, ...]:
    """The source's own class names, which a scenario may repeat but not change.

    Raises:
        ConfigError: the scenario declares other names.
    """
    if data.classes not in (None, names):
        raise ConfigError("data.classes", f"differs from the class names of '{data.source}'", "remove it")
    return names
