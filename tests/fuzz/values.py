"""Mutations of plain JSON: other types, huge numbers, deep nesting, lost and doubled keys, nasty texts."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

PLACEHOLDERS = {
    '"@deep list@"': "[" * 20_000 + "]" * 20_000,
    '"@deep object@"': '{"a":' * 20_000 + "1" + "}" * 20_000,
    '"@many digits@"': "9" * 5_000,
    '"@nan@"': "NaN",
    '"@infinity@"': "-Infinity",
    '"@too large@"': "1e999",
}
"""What Python would not write itself, put into the text."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 255, 2**31, 2**63, -(2**63), 2**64, 10**30, 10**400),
    *(0.0, -0.0, 0.5, -1.5, 1e-320, 1e308, "", " ", "0", "1", "null", "x" * 5_000, "\x1b[2J\r\n\x00", "\u202e"),
    *("a\nb", "../../etc", "/", "\U0001f3b2", "\ud800", [], [None], [1, 2], [[]], ["a", "a"], [0] * 300),
    *({}, {"": 0}, {"a": {}}, {"__class__": "x"}, "os:system", "float32", "1", 2),
    *(name.strip('"') for name in PLACEHOLDERS),
)


def mutated_value(content: Any, random: Random) -> Any:
    """The content with one to three changes somewhere within."""
    content = copy.deepcopy(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        content = _once(content, random)
    return content


def to_text(content: Any) -> str:
    """JSON, perhaps of a kind that Python would not write."""
    text = json.dumps(content)
    for placeholder, put in PLACEHOLDERS.items():
        text = text.replace(placeholder, put)
    return text


def mutated_text(text: str, random: Random) -> str:
    """JSON text with a change of its value, or of its signs where it is none."""
    try:
        content = json.loads(text)
    except ValueError:
        return other_text(text, random)
    return other_text(text, random) if random.random() < 0.1 else to_text(mutated_value(content, random))


def other_text(text: str, random: Random) -> str:
    """Text with a piece cut out, doubled or put in."""
    begin, end = sorted(random.randrange(len(text) + 1) for _ in range(2))
    end = min(end, begin + 40)
    middle = random.choice(("", text[begin:end] * 2, "\x00", '"', "}", "]", "\n", "-", "9" * 30, "\x1b[31m"))
    return text[:begin] + middle + text[end:]


def _once(content: Any, random: Random) -> Any:
    places = list(_places(content))
    if not places or random.random() < 0.03:
        return copy.deepcopy(random.choice(VALUES))
    parent, key = random.choice(places)
    action = random.randrange(8)
    if action <= 3:
        parent[key] = copy.deepcopy(random.choice(VALUES))
    elif action == 4:
        del parent[key]
    elif action == 5:
        other, there = random.choice(places)
        try:
            parent[key], other[there] = copy.deepcopy(other[there]), copy.deepcopy(parent[key])
        except (KeyError, IndexError):
            parent[key] = None
    elif isinstance(parent, dict):
        new = random.choice((f"{key}x", "", str(key).upper(), "\x1b" + str(key), "x" * 300))
        parent[new] = copy.deepcopy(parent[key])
        if action == 6:
            del parent[key]
    else:
        parent.insert(key, copy.deepcopy(parent[random.randrange(len(parent))]))
    number = parent.get(key) if isinstance(parent, dict) else None
    if action == 7 and isinstance(number, int | float) and not isinstance(number, bool):
        parent[key] = number + random.choice((1, -1, 0.5, 10**6))
    return content


def _places(content: Any) -> Any:
    if isinstance(content, dict | list):
        for key in list(content) if isinstance(content, dict) else range(len(content)):
            yield content, key
            yield from _places(content[key])
