"""`data check`: everything that is wrong with a release, by clip."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from reactdist.data import layouts
from reactdist.data.hashes import compare, hash_finding, recorded, sums_file
from reactdist.data.inspection import (
    Finding,
    PairResult,
    PairTask,
    crashed,
    finding,
    inspect_pair,
)
from reactdist.data.lists import repeated
from reactdist.data.neighbours import load_matrix, not_in_index
from reactdist.data.pool import run_all
from reactdist.data.release import Release
from reactdist.data.swaps import MARGIN, suspicion
from reactdist.errors import InputError
from reactdist.schema import SPLITS

HABIT, ENOUGH = 0.2, 8
"""A difference that this share of the clips (and this number) shows is how the release was made
(750 and 751 frames, no final line end); one that fewer show is a file that lost something."""


@dataclass(frozen=True)
class Report:
    """What `check` found."""

    root: str
    pairs: dict[str, int]
    """Pairs of each split."""
    layout: dict[str, dict[str, int | bool | str]]
    num_files: int
    decoded: bool
    findings: tuple[Finding, ...]

    @property
    def problems(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "problem")

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; suspects and notes do not count."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        counts = Counter(f.severity for f in self.findings)
        values = asdict(self)
        return {"ok": self.ok, "counts": dict(counts), **values}


def check(
    root: str | Path,
    *,
    decode: bool = False,
    workers: int | None = None,
    lists: str | Path | None = None,
    hashes: str | Path | None = None,
    splits: tuple[str, ...] = SPLITS,
) -> Report:
    """Inspect every file of every listed clip, the lists and the matrix.

    `decode` also decodes every frame of every video; `hashes`: a file of `sha256sum` lines, or
    shards built earlier, that files are compared with (with `decode`, the release's own SHA256SUMS
    by default); `workers`: processes, default all cores.

    Raises:
        InputError: no release there, or a list that cannot be read.
        DataError: a path in a list leaves the release.
    """
    release = Release.open(root, lists=lists, splits=splits)
    findings = [
        *_lists(release, splits),
        *_matrix(release),
        *_unlisted(Release.open(root, lists=lists), splits),
    ]
    tasks = [
        PairTask(split, release.files(split, p.speaker), release.files(split, p.listener), decode)
        for split, pairs in release.pairs.items()
        for p in dict.fromkeys(pairs)
    ]
    results = list(
        run_all(inspect_pair, tasks, workers=workers, what="checking pairs", crashed=crashed)
    )
    findings += [found for result in results for found in result.findings]
    findings += _habits([f for r in results for f in r.uneven], 2 * len(tasks))
    findings += _habits([f for r in results for f in r.unterminated], 2 * len(tasks))
    findings += _swaps(results)
    hashes = hashes or (sums_file(release.root) if decode else None)
    if hashes is not None:
        findings += _changed(release, hashes, workers)
    findings.sort(key=lambda f: (f.severity, SPLITS.index(f.split) if f.split else -1, f.clip))
    return Report(
        root=str(root),
        pairs={split: len(pairs) for split, pairs in release.pairs.items()},
        layout=release.describe(),
        num_files=sum(result.num_files for result in results),
        decoded=decode,
        findings=tuple(dict.fromkeys(findings)),
    )


def _lists(release: Release, splits: tuple[str, ...]) -> Iterator[Finding]:
    split_of: dict[frozenset[str], str] = {}
    for split, pairs in release.pairs.items():
        file = str(release.lists / f"{split}.csv")
        for pair in pairs:
            other = split_of.setdefault(frozenset((pair.speaker, pair.listener)), split)
            if other != split:
                detail = f"the pair is listed in {other} too: one would be judged by the other"
                yield Finding("listed-twice", "problem", split, pair.speaker, "list", file, detail)
        if not pairs:
            yield Finding("empty", "problem", split, "", "list", file, "lists no pair")
        for pair in repeated(pairs):
            detail = "the pair is listed twice"
            yield Finding("listed-twice", "problem", split, pair.speaker, "list", file, detail)
    for split in splits:
        if split not in release.pairs and (release.root / split).is_dir():
            file = str(release.lists / f"{split}.csv")
            detail = "the split has a folder and no list"
            yield Finding("missing", "problem", split, "", "list", file, detail)


def _matrix(release: Release) -> Iterator[Finding]:
    """The matrix and its index, and pairs that the index lacks."""
    path = release.matrix_path
    index = None
    try:
        index = release.index
    except InputError as error:
        yield Finding("damaged", "problem", "", "", "index", error.where, error.what)
    if index is None or path is None:
        for name, there in (("data_indices.csv", index), ("the appropriateness matrix", path)):
            if there is None:
                detail = f"{name} is missing: no neighbours, so no FRCorr, FRDist and ACC"
                yield Finding("missing", "problem", "", "", "matrix", str(release.lists), detail)
    if path is not None:
        try:
            matrix = load_matrix(path)
        except InputError as error:
            yield Finding("damaged", "problem", "", "", "matrix", str(path), error.what)
        else:
            if index is not None and matrix.shape != (2 * len(index), 2 * len(index)):
                detail = f"has shape {matrix.shape}, the index has {len(index)} rows"
                yield Finding("wrong-shape", "problem", "", "", "matrix", str(path), detail)
    for split, pairs in release.pairs.items() if index is not None else ():
        for clip in not_in_index(index or (), pairs):
            file = str(release.lists / "data_indices.csv")
            yield Finding(
                "not-in-index", "problem", split, clip, "index", file, "no row of the index"
            )


def _unlisted(release: Release, splits: tuple[str, ...]) -> Iterator[Finding]:
    """Files of these splits that belong to no clip of any list."""
    expected: dict[Path, set[Path]] = {}
    folders: dict[Path, str] = {}
    for split in release.pairs:
        base = release.base(split)
        folders[base] = split if base != release.root else ""
        known = expected.setdefault(base, set())
        for clip in release.clips(split):
            known.update(release.files(split, clip).paths().values())
    fixed = (layouts.AUDIO_FOLDER, layouts.EMOTION_FOLDER, layouts.COEFFICIENTS_FOLDER)
    for base, known in expected.items():
        if folders[base] and folders[base] not in splits:
            continue
        places = [(base / name, name) for name in fixed]
        places += [(base / name, "video") for name in layouts.VIDEO_FOLDERS]
        for folder, modality in places:
            for path in _clips_in(folder):
                if path not in known:
                    clip = str(path.relative_to(folder).with_suffix(""))
                    detail = "on disk but not listed"
                    yield Finding(
                        "unlisted", "problem", folders[base], clip, modality, str(path), detail
                    )


def _clips_in(folder: Path) -> Iterator[Path]:
    """Every clip's file in a folder; a folder of pictures is one clip."""
    for parent, names, files in os.walk(folder):
        visible = [name for name in files if not name.startswith(".")]
        if any(name.endswith(".png") for name in visible):
            names.clear()
            yield Path(parent)
        else:
            yield from (Path(parent, name) for name in visible)


def _habits(found: Sequence[Finding], num_clips: int) -> list[Finding]:
    """Problems, or notes if enough of the release shows them."""
    if len(found) < max(HABIT * num_clips, ENOUGH):
        return list(found)
    return [replace(entry, severity="note") for entry in found]


def _changed(release: Release, hashes: str | Path, workers: int | None) -> list[Finding]:
    """Files that are not what was recorded of them."""
    entries = recorded(release, hashes)
    found = run_all(
        compare,
        entries,
        workers=workers,
        what="hashing files",
        crashed=lambda entry: hash_finding(entry, "hashing it ended the process"),
    )
    return [finding for finding in found if finding is not None]


def _swaps(results: Sequence[PairResult]) -> Iterator[Finding]:
    """Pairs whose labels fit the other person better."""
    judged = [(result, result.fit) for result in results if result.fit is not None]
    scores = suspicion([fit for _, fit in judged])
    for (result, _), score in zip(judged, scores, strict=True):
        if score > MARGIN:
            files = result.task.speaker
            detail = (
                f"attributes fit the other person's coefficients better "
                f"(mean correlation +{score:.2f}): exchanged with {result.task.listener.emotion}?"
            )
            yield finding("swapped-labels", result.task.split, files, "emotion", detail, "suspect")
