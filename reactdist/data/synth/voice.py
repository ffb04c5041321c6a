"""A voice in step with the mouth: glottal pulses, each ringing through two formants."""

from __future__ import annotations

import numpy as np

from reactdist.data.synth.person import Voice
from reactdist.data.synth.state import Channel, Performance
from reactdist.schema import FRAME_RATE_HZ

SAMPLE_RATE_HZ = 44_100
SAMPLES_PER_FRAME = SAMPLE_RATE_HZ // FRAME_RATE_HZ
VOWELS_HZ = np.array([[730, 1090], [530, 1840], [270, 2290], [570, 840], [300, 870]], float)
"""First and second formant of a, e, i, o, u (adult averages, Peterson and Barney 1952)."""
NASAL_HZ = 2600.0
BANDWIDTHS_HZ = np.array([80.0, 110.0, 60.0])
LEVEL = 0.5
GRAIN_SAMPLES = 660
"""A pulse has rung out after 15 ms."""
MICROPHONE_NOISE = 2e-4


def voice(performance: Performance, sound: Voice, rng: np.random.Generator) -> np.ndarray:
    """int16 samples of one person's microphone, (T x 1764,) or (T x 1764, 2) if it is stereo.

    A face is heard: raised brows lift the pitch, a smile brightens the vowels, worry makes the
    voice low, soft and dull, a wrinkled nose nasal.
    """
    frames = len(performance.state)
    length = frames * SAMPLES_PER_FRAME
    wave = np.zeros(length + GRAIN_SAMPLES)
    for syllable in performance.syllables:
        middle_s = (syllable.start_s + syllable.end_s) / 2
        face = performance.state[int(np.clip(middle_s * FRAME_RATE_HZ, 0, frames - 1))]
        lift = 0.35 * face[Channel.BROW_RAISE] - 0.2 * face[Channel.BROW_INNER]
        pitch_hz = sound.pitch_hz * (1 + lift) * rng.uniform(0.95, 1.05)
        times_s = np.arange(syllable.start_s, syllable.end_s, 1 / pitch_hz)
        phase = (times_s - syllable.start_s) / (syllable.end_s - syllable.start_s)
        level = syllable.stress * sound.level * np.sin(np.pi * phase) ** 2
        grain = _grain(VOWELS_HZ[syllable.vowel] * sound.formant_scale, face)
        for start, gain in zip((times_s * SAMPLE_RATE_HZ).astype(int), level, strict=True):
            if 0 <= start < length:
                wave[start : start + GRAIN_SAMPLES] += gain * grain
    wave = LEVEL * wave[:length] + MICROPHONE_NOISE * rng.standard_normal(length)
    mono = np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)
    return np.stack([mono, (mono * 0.8).astype(np.int16)], axis=1) if sound.stereo else mono


def _grain(formants_hz: np.ndarray, face: np.ndarray) -> np.ndarray:
    """What one glottal pulse sounds like behind two resonances and the nose."""
    smile, worry, nose = face[Channel.SMILE], face[Channel.BROW_INNER], face[Channel.NOSE]
    resonances_hz = np.append(formants_hz * (1 + 0.15 * smile), NASAL_HZ)
    gains = np.array([1.0, max(0.1, 0.6 + 0.6 * smile - 0.3 * worry), nose]) * (1 - 0.3 * worry)
    time_s = np.arange(GRAIN_SAMPLES) / SAMPLE_RATE_HZ
    ringing = np.exp(-np.pi * BANDWIDTHS_HZ[:, None] * time_s)
    return gains @ (ringing * np.sin(2 * np.pi * resonances_hz[:, None] * time_s))
