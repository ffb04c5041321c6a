"""Writes the files of a release anew in the other layouts that are in use."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import soundfile
from PIL import Image

from reactdist.data.layouts.base import centre_crop
from reactdist.data.layouts.mp4 import Mp4Video
from reactdist.schema import SPLITS

FIRST_PERSONS = ("Expert_video", "P25", "P41", "P45")
"""Roles that releases call P1; all others are P2 (facts page, section 2)."""

SPLIT = "val"
"""The one that is rewritten."""


def files(root: Path, folder: str, suffix: str) -> list[Path]:
    return sorted((root / SPLIT).glob(f"{folder}/**/*{suffix}"))


def video_as_pictures(root: Path) -> None:
    for file in files(root, "Video_files", ".mp4"):
        folder = file.with_suffix("")
        folder.mkdir()
        for number, frame in enumerate(Mp4Video().frames(file), start=1):
            Image.fromarray(frame).save(folder / f"{number}.png", compress_level=1)
        file.unlink()


def video_packed(root: Path) -> None:
    for file in files(root, "Video_files", ".mp4"):
        frames = [centre_crop(frame) for frame in Mp4Video().frames(file)]
        packed = np.stack(frames).transpose(0, 3, 1, 2).astype(np.float32) / 127.5 - 1
        np.save(file.with_suffix(".npy"), packed)
        file.unlink()
    (root / SPLIT / "Video_files").rename(root / SPLIT / "video_data")


def video_renamed(root: Path) -> None:
    (root / SPLIT / "Video_files").rename(root / SPLIT / "cropped_face")


def without_split_folders(root: Path) -> None:
    for split in SPLITS:
        shutil.copytree(root / split, root, dirs_exist_ok=True)
        shutil.rmtree(root / split)


def emotion_by_person(root: Path) -> None:
    for split in SPLITS:
        folder = root / split / "Emotion"
        for role in sorted(folder.glob("*/*/*")):
            role.rename(role.with_name("P1" if role.name in FIRST_PERSONS else "P2"))


def coefficients_flat(root: Path) -> None:
    for file in files(root, "3D_FV_files", ".npy"):
        np.save(file, np.load(file)[:, 0])


def coefficients_one_frame_short(root: Path) -> None:
    for file in root.glob("*/3D_FV_files/**/*.npy"):
        np.save(file, np.load(file)[:-1])


def audio_mono(root: Path) -> None:
    for file in files(root, "Audio_files", ".wav"):
        samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
        soundfile.write(file, samples.mean(1, dtype=np.float32), rate, subtype="FLOAT")


def lists_without_index_column(root: Path) -> None:
    for split in SPLITS:
        file = root / f"{split}.csv"
        lines = [line.partition(",")[2] for line in file.read_text().splitlines()]
        file.write_text("\n".join(lines))


def index_with_udiva(root: Path) -> None:
    """UDIVA rows in index and matrix, as in the published ones."""
    file = root / "data_indices.csv"
    old = np.load(root / "Approprirate_facial_reaction.npy")
    half = len(old) // 2
    new = np.zeros((2 * half + 2, 2 * half + 2), old.dtype)
    places = np.r_[1 : half + 1, half + 2 : 2 * half + 2]
    new[np.ix_(places, places)] = old
    np.save(root / "Approprirate_facial_reaction.npy", new)
    header, *rows = file.read_text().splitlines()
    file.write_text("\n".join([header, "UDIVA,002003_animal,1", *rows]))
