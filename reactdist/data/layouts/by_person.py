"""Emotion files under the person: `SITE/SESSION/P1/1.csv`, for NoXI and RECOLA alike.

The person follows from the role alone (Expert is P1 whether the expert speaks or listens):
mapping "whoever speaks" to P1 gives every mirrored item the wrong person's labels.
"""

from __future__ import annotations

from reactdist.schema import PERSON_OF_ROLE


class EmotionByPerson:
    """P1 and P2 in the place of the role."""

    name = "person"

    def path(self, clip: str) -> str | None:
        parts = clip.split("/")
        person = PERSON_OF_ROLE.get(parts[-2])
        if person is None:
            return None
        return "/".join([*parts[:-2], person, f"{parts[-1]}.csv"])
