"""Label selectors: which nodes a request accepts. Ray's syntax.

    "x"  equal to x        "!x"  not x        "in(a, b)"  one of them        "!in(a, b)"  none of them

A node without the label matches only the negative forms.
"""

from collections.abc import Mapping


def labels_match(selector: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    return all(_value_matches(pattern, labels.get(name)) for name, pattern in selector.items())


def _value_matches(pattern: str, value: str | None) -> bool:
    wanted = pattern.strip()
    is_negated = wanted.startswith("!")
    if is_negated:
        wanted = wanted[1:].strip()
    if wanted.startswith("in(") and wanted.endswith(")"):
        accepted = {one.strip() for one in wanted[3:-1].split(",")}
    else:
        accepted = {wanted}
    return (value in accepted) != is_negated
