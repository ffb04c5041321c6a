"""Emotion files under the role, like every other folder: `SITE/SESSION/Expert_video/1.csv`."""

from __future__ import annotations


class EmotionByRole:
    """The csv lies where the clip's name says."""

    name = "role"

    def path(self, clip: str) -> str | None:
        return f"{clip}.csv"
