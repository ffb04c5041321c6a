"""From a played script to the faces of both people: own acts, and reactions to the other's.

While a side holds the floor its face shows its own act. Otherwise it reacts to what the other
does, one personal lag later, in one of two right ways that the person prefers for that act.
Both sides go through the same code: each direction of a clip is equally real.
"""

from __future__ import annotations

import numpy as np

from reactdist.data.synth.person import Person
from reactdist.data.synth.script import LEAD_FRAMES, TAIL_FRAMES, Act, Script, Segment
from reactdist.data.synth.state import NUM_CHANNELS, Channel, Performance, Syllable
from reactdist.schema import FRAME_RATE_HZ

C = Channel
Pose = dict[Channel, float]

HOLDING: Pose = {C.EYE_OPEN: 1.0, C.LEAN: -0.5, C.YAW: 0.3, C.BROW_RAISE: 0.3}
LISTENING: Pose = {C.EYE_OPEN: 1.0, C.LEAN: 0.5, C.YAW: -0.1, C.SMILE: 0.32}
"""Rest of the two roles. Who speaks looks aside, sits back and lifts the brows for emphasis; who
listens looks at the other, leans in and smiles politely."""

OWN: dict[Act, Pose] = {
    Act.TELL: {C.SMILE: 0.1},
    Act.JOKE: {C.SMILE: 1, C.EYE_OPEN: -0.3, C.ROLL: 0.12},
    Act.SURPRISE: {C.BROW_RAISE: 0.7, C.EYE_OPEN: 0.4, C.JAW: 0.3},
    Act.SAD: {C.BROW_INNER: 1, C.BROW_RAISE: -0.3, C.SMILE: -0.8, C.EYE_OPEN: -0.2, C.PITCH: 0.22},
    Act.THINK: {
        C.BROW_FURROW: 0.8, C.BROW_RAISE: -0.3, C.LIP_PRESS: 0.9, C.GAZE: 0.9, C.YAW: 0.2,
        C.PITCH: -0.15,
    },
    Act.COMPLAIN: {
        C.NOSE: 0.9, C.BROW_FURROW: 0.9, C.BROW_RAISE: -0.3, C.SMILE: -0.35, C.ROLL: -0.1,
    },
}  # fmt: skip
"""What an act adds to the face of whoever has the floor, at intensity 1."""

REACTION: dict[Act, tuple[Pose, Pose]] = {
    Act.TELL: ({C.SMILE: 0.12, C.ROLL: 0.08}, {C.BROW_RAISE: 0.45}),
    Act.JOKE: (
        {C.SMILE: 0.7, C.EYE_OPEN: -0.35, C.JAW: 0.4, C.PITCH: -0.2, C.LEAN: -0.4},
        {C.SMILE: 0.45, C.BROW_RAISE: 0.9, C.PITCH: -0.1, C.LEAN: -0.3},
    ),
    Act.SURPRISE: (
        {C.BROW_FURROW: 0.5, C.BROW_INNER: 0.6, C.JAW: 0.25, C.SMILE: -0.4, C.YAW: -0.2},
        {C.BROW_FURROW: 0.8, C.LIP_PRESS: 0.5, C.ROLL: 0.18, C.SMILE: -0.35, C.YAW: -0.25},
    ),
    Act.SAD: (
        {C.BROW_INNER: 0.9, C.ROLL: 0.2, C.LIP_PRESS: 0.7, C.SMILE: -0.65, C.LEAN: 0.4},
        {C.BROW_INNER: 0.8, C.ROLL: 0.14, C.LIP_PRESS: 0.6, C.SMILE: -0.6, C.LEAN: 0.4},
    ),
    Act.THINK: (
        {C.BROW_RAISE: 0.7, C.EYE_OPEN: 0.2, C.ROLL: -0.1},
        {C.BROW_RAISE: 0.5, C.SMILE: 0.25, C.PITCH: 0.06},
    ),
    Act.COMPLAIN: (
        {C.BROW_RAISE: 0.7, C.SMILE: -0.85, C.PITCH: 0.2, C.LIP_PRESS: 0.7, C.YAW: -0.25},
        {C.BROW_RAISE: 0.4, C.SMILE: -0.95, C.YAW: -0.3, C.NOSE: 0.4, C.PITCH: 0.12},
    ),
}
"""Two right reactions to each act of the other, at intensity 1."""

SILENT = (Act.THINK,)
"""Acts that hold the floor without a word."""
ONSET_SPREAD_FRAMES = 4.0
"""Width of the Gaussian that turns steps of intent into movement (about half a second)."""
MIN_LAG_FRAMES, MAX_LAG_FRAMES = 7.5, 30.0


def perform(
    script: Script, people: tuple[Person, Person], frames: int, rng: np.random.Generator
) -> tuple[Performance, Performance]:
    """Both people of a clip: `people[side]` plays that side of the (already timed) script."""
    starts = _floor_starts(script, people, rng)
    phrases = [_phrases(script, starts, side, rng) for side in (0, 1)]
    performances = []
    for side in (0, 1):
        target = _targets(script, starts, side, people[side], frames, rng)
        syllables = _syllables(phrases[side], script, side, rng)
        state = _smooth(target, ONSET_SPREAD_FRAMES)
        state[:, C.SPEAKING] = _phrase_envelope(phrases[side], frames)
        state += _idle(len(state), state[:, C.SPEAKING], rng)
        state[:, C.PITCH] += _nods(phrases[1 - side], people[side], frames, rng)
        state[:, C.EYE_OPEN] *= 1 - _blinks(len(state), rng)
        state[:, C.JAW] += _mouth(syllables, frames)
        kept = state[LEAD_FRAMES : LEAD_FRAMES + frames]
        heard = tuple(s for s in syllables if s.end_s > 0 and s.start_s < frames / FRAME_RATE_HZ)
        performances.append(Performance(_limit(kept), heard))
    return performances[0], performances[1]


def _floor_starts(
    script: Script, people: tuple[Person, Person], rng: np.random.Generator
) -> list[float]:
    """When each segment really begins: a new holder of the floor answers after a short gap."""
    starts = []
    for i, segment in enumerate(script):
        changes = i > 0 and script[i - 1].side != segment.side
        gap = 0.5 * _lag(people[segment.side], rng) if changes else 0.0
        starts.append(segment.start_frames + gap)
    return starts


def _lag(person: Person, rng: np.random.Generator) -> float:
    lag = person.lag_frames + rng.normal(0, 2)
    return float(np.clip(lag, MIN_LAG_FRAMES, MAX_LAG_FRAMES))


def _targets(
    script: Script,
    starts: list[float],
    side: int,
    person: Person,
    frames: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """(LEAD + frames + TAIL, channels): what the face aims at; steps, not yet movement."""
    target = np.zeros((LEAD_FRAMES + frames + TAIL_FRAMES, NUM_CHANNELS))
    target += _vector(LISTENING)
    own: list[tuple[slice, np.ndarray]] = []
    for segment, start in zip(script, starts, strict=True):
        if segment.side == side:
            strength = person.expressivity * segment.intensity
            aim = _vector(HOLDING) + strength * _vector(OWN[segment.act])
            own.append((_rows(start, segment.end_frames), aim))
        else:
            lag = _lag(person, rng)
            strength = person.reactivity * (0.25 + 0.75 * segment.intensity)
            pose = REACTION[segment.act][person.styles[segment.act]]
            rows = _rows(start + lag, segment.end_frames + lag)
            target[rows] = _vector(LISTENING) + strength * _vector(pose)
    for rows, aim in own:  # whoever takes the floor stops reacting
        target[rows] = aim
    return target


def _rows(start_frames: float, end_frames: float) -> slice:
    return slice(max(0, round(start_frames) + LEAD_FRAMES), max(0, round(end_frames) + LEAD_FRAMES))


def _vector(pose: Pose) -> np.ndarray:
    vector = np.zeros(NUM_CHANNELS)
    for channel, value in pose.items():
        vector[channel] = value
    return vector


def _phrases(
    script: Script, starts: list[float], side: int, rng: np.random.Generator
) -> list[tuple[float, float, Segment]]:
    """(start, end, segment) in frames of every phrase of one side: 0.8-1.8 s, short pauses."""
    phrases = []
    for segment, start in zip(script, starts, strict=True):
        if segment.side != side or segment.act in SILENT:
            continue
        time = start
        while time < segment.end_frames - 8:
            end = min(time + rng.uniform(22, 45), segment.end_frames)
            phrases.append((time, end, segment))
            time = end + rng.uniform(4, 8)
    return phrases


def _syllables(
    phrases: list[tuple[float, float, Segment]],
    script: Script,
    side: int,
    rng: np.random.Generator,
) -> tuple[Syllable, ...]:
    """Voiced syllables that fill the phrases, four to six a second, slower in a sad voice."""
    syllables = []
    for start, end, segment in phrases:
        slow = 1.35 if segment.act is Act.SAD else 1.0
        loud = 0.6 + 0.4 * segment.intensity if segment.act is not Act.SAD else 0.5
        time = start
        while time < end - 2:
            length = slow * rng.uniform(4.2, 6.2)
            stop = min(time + length, end)
            stress = loud * rng.uniform(0.75, 1.0)
            vowel = int(rng.integers(5))
            syllables.append(Syllable(time / FRAME_RATE_HZ, stop / FRAME_RATE_HZ, vowel, stress))
            time = stop
    return tuple(syllables)


def _phrase_envelope(phrases: list[tuple[float, float, Segment]], frames: int) -> np.ndarray:
    speaking = np.zeros((LEAD_FRAMES + frames + TAIL_FRAMES, 1))
    for start, end, _ in phrases:
        speaking[_rows(start, end)] = 1
    return _smooth(speaking, 1.5)[:, 0]


def _mouth(syllables: tuple[Syllable, ...], frames: int) -> np.ndarray:
    """Mouth opening of the syllables, at the middle of each frame."""
    time_s = (np.arange(-LEAD_FRAMES, frames + TAIL_FRAMES) + 0.5) / FRAME_RATE_HZ
    opening = np.zeros(len(time_s))
    for syllable in syllables:
        phase = (time_s - syllable.start_s) / (syllable.end_s - syllable.start_s)
        inside = (phase >= 0) & (phase < 1)
        opening[inside] = syllable.stress * 0.75 * np.sin(np.pi * phase[inside]) ** 2
    return opening


def _nods(
    phrases: list[tuple[float, float, Segment]],
    person: Person,
    frames: int,
    rng: np.random.Generator,
) -> np.ndarray:
    """Backchannel: most phrase ends of the other are answered by a nod, a lag later."""
    time = np.arange(-LEAD_FRAMES, frames + TAIL_FRAMES)
    pitch = np.zeros(len(time))
    for _, end, _ in phrases:
        if rng.random() < person.nods:
            centre = end + 0.6 * _lag(person, rng)
            pitch += 0.16 * person.reactivity * np.exp(-0.5 * ((time - centre) / 3.5) ** 2)
    return pitch


def _blinks(length: int, rng: np.random.Generator) -> np.ndarray:
    closed = np.zeros(length)
    time = rng.uniform(0, 100)
    while time < length:
        frame = int(time)
        closed[frame : frame + 4] = np.array([0.6, 1.0, 0.9, 0.4])[: length - frame]
        time += rng.uniform(50, 130)
    return closed


def _idle(length: int, speaking: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Slow movement nobody intends; the head moves more while its owner talks."""
    drift = np.zeros((length, NUM_CHANNELS))
    head = 0.6 + 0.8 * speaking
    for channel, size in ((C.YAW, 0.06), (C.PITCH, 0.03), (C.ROLL, 0.03), (C.LEAN, 0.12)):
        drift[:, channel] = size * head * slow_noise(rng, length, 12)
    for channel in (C.SMILE, C.BROW_RAISE, C.BROW_FURROW):
        drift[:, channel] = 0.03 * slow_noise(rng, length, 20)
    return drift


def slow_noise(rng: np.random.Generator, length: int, spread_frames: float) -> np.ndarray:
    """Gaussian noise of unit variance that changes over about `spread_frames` frames."""
    radius = int(3 * spread_frames)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / spread_frames) ** 2)
    kernel /= np.sqrt((kernel**2).sum())
    return np.convolve(rng.standard_normal(length + 2 * radius), kernel, "valid")


def _smooth(values: np.ndarray, spread_frames: float) -> np.ndarray:
    radius = int(3 * spread_frames + 1)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / spread_frames) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((radius, radius), (0, 0)), mode="edge")
    columns = [np.convolve(padded[:, i], kernel, "valid") for i in range(values.shape[1])]
    return np.stack(columns, axis=1)


def _limit(state: np.ndarray) -> np.ndarray:
    """What a face can do; the range every later stage may rely on."""
    low, high = np.zeros(NUM_CHANNELS), np.ones(NUM_CHANNELS)
    for channel in (C.SMILE, C.GAZE, C.LEAN):
        low[channel] = -1
    for channel in (C.YAW, C.PITCH, C.ROLL):
        low[channel], high[channel] = -0.6, 0.6
    high[C.EYE_OPEN] = 1.4
    return np.clip(state, low, high)
