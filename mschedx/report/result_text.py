"""A result in a few lines, for a prompt and for a notebook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MOST_NOTES = 4
"""Notes that are shown; the others are counted."""


def result_text(kind: str, found: str, facts: Mapping[str, str], notes: Sequence[str]) -> str:
    """Write what was found, then a line a fact, then the first notes.

    Parameters
    ----------
    kind : str
        Name of the result's class.
    found : str
        The most important line.
    facts : mapping of str to str
    notes : sequence of str
    """
    width = max(map(len, facts), default=0)
    lines = [f"{kind}: {found}", *(f"  {name:{width}}  {value}" for name, value in facts.items())]
    lines += [f"  note: {note}" for note in notes[:MOST_NOTES]]
    if len(notes) > MOST_NOTES:
        lines.append(f"  and {len(notes) - MOST_NOTES} more notes")
    return "\n".join(lines)
