"""From a release to shards: plan, run the tasks, then write lists, neighbours and manifest.

Resumable: tasks that finished are not run again, and the manifest is written last, so a set that
can be opened is complete. The same release and settings give the same bytes however it was run.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from reactdist.data.clip import ClipSettings
from reactdist.data.codec import DEFAULT_CODEC, SEGMENT_FRAMES, codec_named, describe
from reactdist.data.coefficients import read_mean_face
from reactdist.data.lists import Pair, repeated
from reactdist.data.manifest import MANIFEST_NAME, FileRecord, Manifest, SplitRecord, digest
from reactdist.data.neighbours import cut, load_matrix, not_in_index
from reactdist.data.pool import dies, run_all, run_alone
from reactdist.data.release import Release
from reactdist.data.shard_task import RECORDS, Group, ShardResult, ShardTask, run_task, try_clip
from reactdist.data.shards import Shards
from reactdist.data.storage import Store
from reactdist.errors import DataError, InputError
from reactdist.schema import CROP_PIXELS, SPLITS

PAIRS_A_SHARD = 8

Runner = Callable[[Sequence[ShardTask]], Iterator[ShardResult]]
"""Runs tasks in any order, wherever it likes: processes here, Ray tasks in `distributed.build`."""


class Counted:
    """A runner that counts what another one builds."""

    def __init__(self, run: Runner) -> None:
        self._run = run
        self.clips = 0
        """Built now, not by an earlier, interrupted run."""
        self.peak_bytes = 0
        """The most memory that one worker held."""

    def __call__(self, tasks: Sequence[ShardTask]) -> Iterator[ShardResult]:
        for result in self._run(tasks):
            if result.peak_bytes and result.shard is not None:
                self.clips += len(result.shard.clips)
            self.peak_bytes = max(self.peak_bytes, result.peak_bytes)
            yield result


@dataclass(frozen=True)
class Plan:
    """All that a build will do, known before it starts."""

    release: Release
    store: Store
    settings: ClipSettings
    tasks: tuple[ShardTask, ...]
    duplicates: dict[str, tuple[Pair, ...]]
    digest: str


def build(
    root: str | Path,
    out: str | Path,
    *,
    image_size: int = CROP_PIXELS,
    codec: str = DEFAULT_CODEC,
    strict: bool = False,
    workers: int | None = None,
    lists: str | Path | None = None,
    splits: tuple[str, ...] = SPLITS,
    min_frames: int = 1,
    pairs_a_shard: int = PAIRS_A_SHARD,
    runner: Runner | None = None,
) -> Shards:
    """Build the shards of the release at `root` into `out` (folder or URI), or finish doing so.

    `image_size`: side in pixels, up to 224; `codec`: see `codec.codec_named`; `workers`: processes,
    as many as cores by default; `min_frames`: shorter clips are left out; `strict`: refuse a
    release that is not whole. What was left out is in the manifest, with reasons.

    Raises:
        InputError: no release there, `out` holds another set, nothing good in the release.
        DataError: `strict`, and something had to be left out.
        StorageError: `out` cannot be written.
    """
    plan = make_plan(
        root,
        out,
        image_size=image_size,
        codec=codec,
        lists=lists,
        splits=splits,
        min_frames=min_frames,
        pairs_a_shard=pairs_a_shard,
    )
    finished = _finished(plan)
    if finished is None:
        results = []
        for result in (runner or (lambda tasks: run_tasks(tasks, workers)))(plan.tasks):
            if strict:
                refuse(result.left_out)
            results.append(result)
        records = write_splits(plan, sorted(results, key=lambda r: (r.split, r.number)))
    else:
        records = finished.manifest.splits
    if strict:
        refuse([entry for record in records.values() for entry in record.left_out])
    if finished is None:
        seal(plan, records)
        finished = Shards.open(out)
    else:
        tidy(plan.store)  # a build killed after its last word
    return finished


def make_plan(
    root: str | Path,
    out: str | Path,
    *,
    image_size: int,
    codec: str,
    lists: str | Path | None,
    splits: tuple[str, ...],
    min_frames: int,
    pairs_a_shard: int,
) -> Plan:
    """Read the lists, find the files, deal the pairs to shards."""
    if not 1 <= image_size <= CROP_PIXELS or image_size % 2:
        raise InputError(f"image size {image_size}", fix=f"an even number up to {CROP_PIXELS}")
    release = Release.open(root, lists=lists, splits=splits)
    store = Store.at(out)
    mean_face = read_mean_face(release.mean_face_path)
    settings = ClipSettings(image_size, codec_named(codec), tuple(mean_face.tolist()), min_frames)
    tasks: list[ShardTask] = []
    duplicates = {}
    for split, pairs in release.pairs.items():
        again = repeated(pairs)
        duplicates[split] = tuple(again)
        groups = _groups(release, split, pairs)
        for number, start in enumerate(range(0, len(groups), pairs_a_shard)):
            chosen = tuple(groups[start : start + pairs_a_shard])
            task_plan = digest([_settings_values(settings), [_group_values(g) for g in chosen]])
            tasks.append(ShardTask(store, split, number, chosen, settings, task_plan))
    matrix = release.matrix_path
    everything = digest(
        [
            [task.plan for task in tasks],
            {s: [asdict(pair) for pair in pairs] for s, pairs in release.pairs.items()},
            matrix.stat().st_size if matrix else None,
            [asdict(row) for row in release.index or ()],
        ]
    )
    return Plan(release, store, settings, tuple(tasks), duplicates, everything)


def run_tasks(tasks: Sequence[ShardTask], workers: int | None) -> Iterator[ShardResult]:
    """The runner for one machine: a pool of processes."""
    return run_all(
        run_task, tasks, workers=workers, what="building shards", crashed=without_killers
    )


def without_killers(task: ShardTask) -> ShardResult:
    """Run a task that took its process down, leaving out the clips that do it."""
    every = [files for group in task.groups for files in group.files]
    killers = {files.key for files in every if dies(try_clip, (files, task.settings))}
    # A decoder that dies now and then may have survived its trial; then nothing is kept.
    return run_alone(
        partial(run_task, avoid=frozenset(killers)),
        task,
        partial(run_task, avoid=frozenset(files.key for files in every)),
    )


def write_splits(plan: Plan, results: Sequence[ShardResult]) -> dict[str, SplitRecord]:
    """Write lists and neighbours of what was kept.

    Raises:
        InputError: no pair of the release can be used.
    """
    records = {
        split: _write_split(plan, split, [r for r in results if r.split == split])
        for split in plan.release.pairs
    }
    if not any(record.num_pairs for record in records.values()):
        reasons = [why for record in records.values() for _, why in record.left_out]
        raise InputError(
            "holds no pair that can be used",
            where=plan.release.root,
            fix=f"run `reactdist data check`; first: {reasons[0] if reasons else 'empty lists'}",
        )
    return records


def seal(plan: Plan, records: dict[str, SplitRecord]) -> Manifest:
    """Write the manifest, which makes the set complete, and drop the records of the tasks."""
    manifest = Manifest(
        plan=plan.digest,
        image_size=plan.settings.image_size,
        segment_frames=SEGMENT_FRAMES,
        codec=describe(plan.settings.codec),
        mean_face=plan.settings.mean_face,
        source=plan.release.describe(),
        splits=records,
    ).sealed()
    plan.store.write(MANIFEST_NAME, manifest.to_json())
    tidy(plan.store)
    return manifest


def tidy(store: Store) -> None:
    """Delete what a finished set no longer needs."""
    store.remove_folder(RECORDS)
    store.sweep()


def refuse(left_out: Sequence[tuple[str, str]]) -> None:
    """Raise DataError if anything the lists name had to be left out."""
    if left_out:
        what, why = left_out[0]
        more = f" (and {len(left_out) - 1} more)" if len(left_out) > 1 else ""
        raise DataError(
            f"{what} cannot be used{more}: {why}",
            fix="mend the release (`reactdist data check` lists everything) or drop --strict",
        )


def _finished(plan: Plan) -> Shards | None:
    """The set that is already there, if it is the one asked for."""
    if not plan.store.exists(MANIFEST_NAME):
        return None
    shards = Shards.open(plan.store.shown)
    if shards.manifest.plan != plan.digest:
        raise InputError(
            "holds shards of another release or other settings",
            where=plan.store.shown,
            fix="give another folder, or delete that one",
        )
    return shards


def _groups(release: Release, split: str, pairs: Sequence[Pair]) -> list[Group]:
    """Pairs that share a clip together, in list order, each clip once."""
    group_of: dict[str, int] = {}
    members: dict[int, list[Pair]] = {}
    for number, pair in enumerate(pairs):
        touched = {group_of[c] for c in (pair.speaker, pair.listener) if c in group_of}
        target = min(touched, default=number)
        members.setdefault(target, [])
        for other in sorted(touched - {target}):
            members[target] += members.pop(other)
        members[target].append(pair)
        for member in members[target]:
            group_of[member.speaker] = group_of[member.listener] = target
    groups = []
    for number in sorted(members):
        chosen = list(dict.fromkeys(members[number]))
        clips = dict.fromkeys(clip for pair in chosen for clip in (pair.speaker, pair.listener))
        files = tuple(release.files(split, clip) for clip in clips)
        groups.append(Group(tuple(chosen), files))
    return groups


def _write_split(plan: Plan, split: str, results: Sequence[ShardResult]) -> SplitRecord:
    """Pairs and neighbours of what was kept, in the order of the release's list."""
    shards = tuple(r.shard for r in results if r.shard is not None)
    kept = {key for shard in shards for key, _ in shard.clips}
    # Where the release lies is no part of the set: moved and built again, it is the same.
    here = f"{plan.release.root}/"
    left_out = [(what, why.replace(here, "")) for r in results for what, why in r.left_out]
    unknown: set[str] = set()
    index, matrix = plan.release.index, plan.release.matrix_path
    with_matrix = index is not None and matrix is not None
    if with_matrix:
        unknown = set(not_in_index(index or (), plan.release.pairs[split]))
    pairs, seen = [], set()
    for pair in plan.release.pairs[split]:
        both = frozenset((pair.speaker, pair.listener))
        if both in seen:
            left_out.append((f"{split}/{pair.speaker}", "the pair is listed twice"))
        elif pair.speaker in unknown:
            left_out.append((f"{split}/{pair.speaker}", "not in the index of the matrix"))
        elif all(f"{split}/{clip}" in kept for clip in (pair.speaker, pair.listener)):
            pairs.append(pair)
        seen.add(both)
    lines = ["speaker_path,listener_path", *(f"{p.speaker},{p.listener}" for p in pairs)]
    pairs_file = _write_file(plan.store, f"{split}/pairs.csv", "\n".join(lines).encode() + b"\n")
    neighbours = None
    if with_matrix:
        buffer = io.BytesIO()
        np.save(buffer, cut(load_matrix(matrix or ""), index or (), pairs), allow_pickle=False)
        neighbours = _write_file(plan.store, f"{split}/neighbours.npy", buffer.getvalue())
    return SplitRecord(pairs_file, len(pairs), neighbours, shards, tuple(left_out))


def _write_file(store: Store, name: str, data: bytes) -> FileRecord:
    store.write(name, data)
    return FileRecord(name, len(data), hashlib.sha256(data).hexdigest())


def _settings_values(settings: ClipSettings) -> dict[str, object]:
    return {**asdict(settings), "segment_frames": SEGMENT_FRAMES}


def _group_values(group: Group) -> list[object]:
    """What a group's rows depend on: names and sizes of its files (hashing them would read all)."""
    values: list[object] = [[pair.speaker, pair.listener] for pair in group.pairs]
    for files in group.files:
        sizes = [
            sum(f.stat().st_size for f in path.iterdir()) if path.is_dir()
            else path.stat().st_size if path.exists() else None
            for path in files.paths().values()
        ]  # fmt: skip
        values.append([files.key, files.video_layout.name, files.emotion_layout, sizes])
    return values
