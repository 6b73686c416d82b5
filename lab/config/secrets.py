"""The values of a configuration that Pulumi holds as secret.

The engine decrypts every value before the program runs, and reports only the top-level keys that contain secrets. The
stack file shows which values below them are encrypted.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from lab.config.problems import Problems
from lab.config.schema import SchemaKey, display_key

KeyPath = tuple[str | int, ...]
"""Keys and list indexes that lead to a configuration value, such as `("workers", 1, "machine", "privateKey")`."""

NOT_SECRET = (
    "is held as secret, but the lab shows it in previews, in the state and on the nodes. Set it without --secret. If "
    "only a part of a value is secret, encrypt only that part, with `pulumi config set --secret --path`"
)

FLAG_IS_NOT_SECRET = (
    "is held as secret, but the flags of a program show in the node's process list. Set it without --secret, or let "
    "the flag name a file that holds the secret"
)


def encrypted_paths(value: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the path of each encrypted value in a stack file.

    Args:
        value: The values, as YAML reads them.
        path: The path of these values.
    """
    if isinstance(value, Mapping):
        if value.keys() == {"secure"}:
            yield path
        else:
            for name, item in value.items():
                yield from encrypted_paths(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from encrypted_paths(item, (*path, index))


def secret_paths(values: Mapping[str, Any], keys: Iterable[str], encrypted: Mapping[str, Any]) -> set[KeyPath]:
    """Return the paths of all secret values.

    Args:
        values: The decrypted values by top-level key.
        keys: The top-level keys that contain secrets.
        encrypted: The values as the stack file has them. The whole value of a key counts as secret if the stack file
            does not have the same value.
    """
    paths: set[KeyPath] = set()
    for key in keys:
        exact = set(encrypted_paths(encrypted.get(key), (key,)))
        is_same = exact and _is_decrypted(encrypted[key], values.get(key))
        paths |= exact if is_same else {(key,)}
    return paths


def _is_decrypted(encrypted: Any, decrypted: Any) -> bool:
    """Return True if two values are equal except for the encrypted parts."""
    if isinstance(encrypted, Mapping):
        if encrypted.keys() == {"secure"}:
            return True
        is_same = isinstance(decrypted, Mapping) and encrypted.keys() == decrypted.keys()
        return is_same and all(_is_decrypted(item, decrypted[name]) for name, item in encrypted.items())
    if isinstance(encrypted, list):
        is_same = isinstance(decrypted, list) and len(encrypted) == len(decrypted)
        return is_same and all(map(_is_decrypted, encrypted, decrypted))
    return bool(encrypted == decrypted)


def find_secrets(
    paths: Collection[KeyPath],
    values: Mapping[str, Any],
    schema: Mapping[str, SchemaKey],
    problems: Problems,
    prefix: str,
) -> frozenset[str]:
    """Return all secret texts, and add a problem for each secret value that the lab cannot keep secret.

    Args:
        paths: The paths of the secret values.
        values: The decoded values by top-level key.
        schema: The declared top-level keys.
        problems: Receives the problems. It hides the secret texts from now on.
        prefix: The start of each full key in a problem.
    """
    leaves: list[tuple[KeyPath, str, bool]] = []
    for path in sorted(paths, key=str):
        value: Any = values
        key: SchemaKey | None = SchemaKey(type="object", properties=schema)
        accepts = False
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                break
            key = _part(key, part)
            accepts = accepts or bool(key and key.accepts_secret)
        else:
            leaves += _leaves(path, value, key, accepts)
    problems.hide(text for _, text, _ in leaves)
    refused: set[str] = set()
    for path, _, accepts in leaves:
        name = str(path[0])
        # A misspelled key is another problem, and a value that is secret as a whole is one problem.
        if accepts or name not in schema or name in refused:
            continue
        refused.add(name)
        problems.add(f"{prefix}{_display(path)}", FLAG_IS_NOT_SECRET if name.endswith("Flags") else NOT_SECRET)
    return frozenset(text for _, text, accepts in leaves if accepts and text)


def _part(key: SchemaKey | None, part: str | int) -> SchemaKey | None:
    """Return the declaration of a part of a value, None for a part that is not declared."""
    if key is None:
        return None
    return key.items if isinstance(part, int) else key.properties.get(part, key.values)


def _leaves(path: KeyPath, value: Any, key: SchemaKey | None, accepts: bool) -> Iterator[tuple[KeyPath, str, bool]]:
    """Yield the path and the text of each text in a value, and whether the lab keeps it secret."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            inner = _part(key, name)
            yield from _leaves((*path, name), item, inner, accepts or bool(inner and inner.accepts_secret))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            inner = _part(key, index)
            yield from _leaves((*path, index), item, inner, accepts or bool(inner and inner.accepts_secret))
    elif isinstance(value, str):
        yield path, value, accepts


def _display(path: KeyPath) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{display_key(part)}" for part in path).removeprefix(".")
