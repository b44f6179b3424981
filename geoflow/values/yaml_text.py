"""YAML as GeoFlow reads it: plain values only; everything else is refused with a one-sentence message.

Numbers are those of YAML 1.2: `1e-3` is a number, while `010`, `1:30` and `2024-01-01` are texts. Keys are unique.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from geoflow.errors import ConfigError

_MOST_VALUES = 100_000  # in a text; values that an alias repeats count each time
_WHOLE = r"[-+]?(?:0|[1-9][0-9_]*)|0x[0-9a-fA-F]+"
_REAL = (
    r"[-+]?(?:\.[0-9]+|[0-9][0-9_]*\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)


def read_yaml(path: Path) -> Any:
    """Read the plain values of a file in UTF-8 or UTF-16. Raises ConfigError that names the file and the line."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from None
    return parse_yaml(data, str(path))


def parse_yaml(text: str | bytes, where: str) -> Any:
    """Parse a text to plain values: None, bool, int, float, str, list, dict.

    `where` names the text in a ConfigError.
    """
    import yaml

    try:
        loader = _loader()(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check(node, {}, set())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{where} is not valid YAML: {error.reason}; save it as UTF-8 text") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise ConfigError(f"{where} is not valid YAML: {error.problem or error.context}{place}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{where} is not valid YAML: {error}") from None
    except RecursionError:
        raise ConfigError(f"{where} is not valid YAML: it is nested too deeply") from None
    except (ValueError, OverflowError) as error:  # a number of thousands of digits
        raise ConfigError(f"{where} is not valid YAML: {error}") from None


def write_yaml(values: Any) -> str:
    """Return plain values as a text that `parse_yaml` reads as the same values, one value a line.

    >>> write_yaml({"a": 1e-07, "b": "1e5", "c": [1, 2]})
    "a: 1.0e-07\\nb: '1e5'\\nc: [1, 2]\\n"
    """
    import yaml

    return str(yaml.dump(values, Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=100))


@functools.cache
def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """PyYAML's dumper, which also quotes the texts that `_loader` would take for numbers."""

    Dumper.add_representer(
        list, lambda dumper, row: dumper.represent_sequence("tag:yaml.org,2002:seq", row, _flat(row))
    )
    for name, pattern in (("int", _WHOLE), ("float", _REAL)):
        Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"(?:{pattern})$"), list("-+.0123456789"))
    return Dumper


def _flat(row: list[Any]) -> bool:
    """Return whether a list is short enough for one line: it holds no mapping and no list."""
    return not any(isinstance(value, (dict, list)) for value in row)


@functools.cache
def _loader() -> Any:
    import yaml

    class Loader(yaml.SafeLoader):
        """PyYAML's loader with only the rules for None and bool in plain texts."""

    null_and_bool = ("tag:yaml.org,2002:null", "tag:yaml.org,2002:bool", "tag:yaml.org,2002:merge")
    Loader.yaml_implicit_resolvers = {
        first: [rule for rule in rules if rule[0] in null_and_bool]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for name, pattern in (("int", _WHOLE), ("float", _REAL)):
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{name}", re.compile(f"(?:{pattern})$"), list("-+.0123456789"))
    return Loader


def _check(node: Any, sizes: dict[int, int], above: set[int]) -> int:
    """Return the number of values in a node, with aliases expanded. Raises a YAML error if a value is not plain."""
    import yaml

    def refuse(problem: str, at: Any) -> yaml.MarkedYAMLError:
        return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)

    if id(node) in above:
        raise refuse("an alias is used inside the value that it names", node)
    if id(node) in sizes:
        return sizes[id(node)]
    if node.tag.rpartition(":")[2] not in ("null", "bool", "int", "float", "str", "seq", "map", "merge"):
        raise refuse(f"{node.tag} is not a plain value; write numbers, texts, lists and mappings", node)
    size, inside = 1, above | {id(node)}
    if isinstance(node, yaml.MappingNode):
        keys: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise refuse("a key should be a text", key)
            if key.value in keys and key.tag.rpartition(":")[2] != "merge":
                raise refuse(f"the key {key.value!r} is there twice", key)
            keys.add(key.value)
            size += 1 + _check(value, sizes, inside)
    elif isinstance(node, yaml.SequenceNode):
        size += sum(_check(value, sizes, inside) for value in node.value)
    if size > _MOST_VALUES:
        raise refuse(f"it holds more than {_MOST_VALUES:,} values", node)
    sizes[id(node)] = size
    return size
