"""A release on disk: its lists and where each clip's four files lie, whatever the layout."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from reactdist.data import layouts
from reactdist.data.layouts import VideoLayout
from reactdist.data.lists import IndexRow, Pair, read_index, read_pairs
from reactdist.errors import InputError
from reactdist.schema import SPLITS

# The first is the published spelling.
MATRIX_NAMES = ("Approprirate_facial_reaction.npy", "Appropriate_facial_reaction.npy")
INDEX_NAME = "data_indices.csv"
MEAN_FACE_NAME = "mean_face.npy"


@dataclass(frozen=True)
class ClipFiles:
    """Where the files of one person clip are, or would be expected if missing."""

    key: str
    """`SPLIT/` and the clip's path in the list."""
    video: Path
    video_layout: VideoLayout
    audio: Path
    emotion: Path
    emotion_layout: str
    coefficients: Path

    def paths(self) -> dict[str, Path]:
        """The four files by modality."""
        return {
            "video": self.video,
            "audio": self.audio,
            "emotion": self.emotion,
            "coefficients": self.coefficients,
        }


@dataclass(frozen=True)
class Release:
    """A downloaded or generated release: `root` holds the folders, `lists` the csv files."""

    root: Path
    lists: Path
    pairs: dict[str, tuple[Pair, ...]] = field(repr=False)
    """Pairs of each split that has a list."""

    @classmethod
    def open(
        cls,
        root: str | Path,
        *,
        lists: str | Path | None = None,
        splits: tuple[str, ...] = SPLITS,
    ) -> Release:
        """Read the pair lists under `root`, or under `lists` where they lie elsewhere.

        Raises:
            InputError: no such folder, no list in it, a list that cannot be read.
            DataError: a path in a list leaves the release.
        """
        root = Path(root)
        folder = Path(lists) if lists is not None else root
        for path in (root, folder):
            if not path.is_dir():
                raise InputError("no such folder", where=path, fix="give the release's root")
        files = {split: folder / f"{split}.csv" for split in splits}
        found = {split: read_pairs(file) for split, file in files.items() if file.is_file()}
        if not found:
            raise InputError(
                "holds no pair list",
                where=folder,
                fix=f"expected {' or '.join(f.name for f in files.values())}, or give --lists",
            )
        return cls(root, folder, found)

    @cached_property
    def matrix_path(self) -> Path | None:
        """The appropriateness matrix, beside the lists or in the root; None if there is none."""
        return self._beside(*MATRIX_NAMES)

    @cached_property
    def index(self) -> tuple[IndexRow, ...] | None:
        """Rows of the matrix's index; None if the release has none."""
        path = self._beside(INDEX_NAME)
        return read_index(path) if path else None

    @cached_property
    def mean_face_path(self) -> Path | None:
        """The release's own mean face; None if it has none (the published one is used)."""
        return self._beside(MEAN_FACE_NAME)

    def clips(self, split: str) -> tuple[str, ...]:
        """Person clips of a split, each once, in the order the list first names them."""
        named = (clip for pair in self.pairs[split] for clip in (pair.speaker, pair.listener))
        return tuple(dict.fromkeys(named))

    def files(self, split: str, clip: str) -> ClipFiles:
        """Where the clip's files are; a missing one is where this release would keep it."""
        video, video_layout = self._video(split, clip)
        emotion, emotion_layout = self._emotion(split, clip)
        base = self.base(split)
        return ClipFiles(
            key=f"{split}/{clip}",
            video=video,
            video_layout=video_layout,
            audio=base / layouts.AUDIO_FOLDER / f"{clip}.wav",
            emotion=emotion,
            emotion_layout=emotion_layout,
            coefficients=base / layouts.COEFFICIENTS_FOLDER / f"{clip}.npy",
        )

    def base(self, split: str) -> Path:
        """The folder of a split, or the root where the release is not split."""
        folder = self.root / split
        return folder if folder.is_dir() else self.root

    def video_folders(self, split: str) -> list[Path]:
        """The folders of a split that may hold video."""
        candidates = [self.base(split) / name for name in layouts.VIDEO_FOLDERS]
        return [folder for folder in candidates if folder.is_dir()] or candidates[:1]

    def describe(self) -> dict[str, dict[str, int | bool | str]]:
        """What the layout of each split was found to be, for the manifest and the reports."""
        description: dict[str, dict[str, int | bool | str]] = {}
        for split in self.pairs:
            found = [self.files(split, clip) for clip in self.clips(split)]
            videos = Counter(f"{f.video_layout.name}" for f in found if f.video.exists())
            emotions = Counter(f.emotion_layout for f in found if f.emotion.exists())
            description[split] = {
                "split_folder": self.base(split) != self.root,
                "video": "+".join(sorted(videos)) or "none",
                "emotion_names": "+".join(sorted(emotions)) or "none",
            }
        return description

    def _video(self, split: str, clip: str) -> tuple[Path, VideoLayout]:
        expected = None
        for folder in self.video_folders(split):
            for layout in layouts.VIDEO_LAYOUTS:
                path = folder / f"{clip}{layout.suffix}"
                if path.exists() and layout.is_clip(path):
                    return path, layout
                expected = expected or (path, layout)
        assert expected is not None
        return expected

    def _emotion(self, split: str, clip: str) -> tuple[Path, str]:
        folder = self.base(split) / layouts.EMOTION_FOLDER
        expected = None
        for layout in layouts.EMOTION_LAYOUTS:
            name = layout.path(clip)
            if name is None:
                continue
            if (folder / name).exists():
                return folder / name, layout.name
            expected = expected or (folder / name, layout.name)
        assert expected is not None
        return expected

    def _beside(self, *names: str) -> Path | None:
        for name in names:
            for folder in (self.lists, self.root):
                if (folder / name).is_file():
                    return folder / name
        return None
