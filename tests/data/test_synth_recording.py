"""What one person leaves behind: ranges, published statistics, and that it is one face."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from reactdist.data.synth.behaviour import perform
from reactdist.data.synth.coefficients import published
from reactdist.data.synth.person import make_person
from reactdist.data.synth.picture import pictures
from reactdist.data.synth.plan import make_plan
from reactdist.data.synth.recording import Recording, record
from reactdist.data.synth.script import Act, Segment, play
from reactdist.data.synth.seeding import generator
from reactdist.data.synth.state import Channel
from reactdist.data.synth.voice import SAMPLES_PER_FRAME, voice
from reactdist.schema import AFFECT_SLICE, AU_SLICE, EXPRESSION_SLICE, NOMINAL_FRAMES


@pytest.fixture(scope="module")
def recordings() -> list[Recording]:
    plan = make_plan(24, 400, seed=5)
    return [person for clip in plan.clips for person in record(plan, clip)]


def test_attributes_keep_their_published_ranges(recordings: list[Recording]) -> None:
    emotion = np.stack([r.emotion for r in recordings])
    assert emotion.shape == (48, 400, 25)
    assert set(np.unique(emotion[..., AU_SLICE])) == {0.0, 1.0}
    assert np.abs(emotion[..., AFFECT_SLICE]).max() <= 1
    assert emotion[..., EXPRESSION_SLICE].min() >= 0
    np.testing.assert_allclose(emotion[..., EXPRESSION_SLICE].sum(axis=2), 1, atol=1e-12)


def test_some_units_are_constant_over_a_clip_and_every_one_varies_somewhere(
    recordings: list[Recording],
) -> None:
    spread = np.stack([r.emotion.std(axis=0) for r in recordings])
    constant = (spread < 1e-12).mean()
    assert 0.03 < constant < 0.3  # the published ground truth scores 8.35 of 10: about 0.17
    assert (spread.max(axis=0) > 0.1).all()


def test_coefficients_have_the_published_mean_and_scale(recordings: list[Recording]) -> None:
    """Tolerance: the mean within 0.3 standard deviations, the deviation within 25 %."""
    values = np.concatenate([r.coefficients for r in recordings]).astype(float)
    assert recordings[0].coefficients.dtype == np.float32
    off = (values.mean(axis=0) - published("mean")) / published("std")
    ratio = values.std(axis=0) / published("std")
    assert np.abs(off).max() < 0.3
    assert ratio.min() > 0.75
    assert ratio.max() < 1.25


def test_coefficients_are_smooth(recordings: list[Recording]) -> None:
    """A frame is close to the one before: consecutive frames correlate above 0.8."""
    for r in recordings[:8]:
        centred = r.coefficients - r.coefficients.mean(axis=0)
        step = (centred[1:] * centred[:-1]).sum(axis=0) / (centred**2).sum(axis=0)
        assert np.median(step) > 0.8


def test_the_voice_sounds_when_the_mouth_moves() -> None:
    plan = make_plan(3, 200, seed=8)
    for clip in plan.clips:
        for r in record(plan, clip):
            samples = voice(r.performance, r.person.voice, generator(0, "noise"))
            assert samples.dtype == np.int16
            mono = samples if samples.ndim == 1 else samples[:, 0]
            assert len(mono) == 200 * SAMPLES_PER_FRAME
            assert np.abs(mono).max() < 32767
            loud = np.sqrt((mono.reshape(200, -1).astype(float) ** 2).mean(axis=1))
            speaking = r.performance.state[:, Channel.SPEAKING] > 0.99
            if speaking.any() and not speaking.all():
                jaw = r.performance.state[speaking, Channel.JAW]
                assert np.corrcoef(loud[speaking], jaw)[0, 1] > 0.5
                silent = r.performance.state[:, Channel.SPEAKING] < 0.01
                assert loud[silent].mean() < 0.1 * loud[speaking].mean()


@pytest.mark.parametrize("act", [Act.JOKE, Act.SURPRISE, Act.SAD, Act.THINK, Act.COMPLAIN])
def test_every_act_shows_in_a_64_pixel_picture(act: Act) -> None:
    """One in twenty pixels of the middle of the face changes by 12 grey levels or more."""
    frame = 40
    for number in range(4):
        people = make_person(1, number), make_person(1, number + 50)
        shown = []
        for shown_act in (Act.TELL, act):
            script = (Segment(0, shown_act, -150.0, 200.0, 1.0),)
            performance = perform(script, people, 80, generator(1, "picture"))[0]
            state = performance.state[frame : frame + 1].copy()
            state[:, [Channel.JAW, Channel.EYE_OPEN]] = 0, 1  # neither syllable nor blink
            picture = next(pictures(state, people[0].look))[16:240, 16:240].mean(axis=2)
            shown.append(
                np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BOX))
            )
        change = np.abs(shown[1] - shown[0])[12:56, 12:52]
        assert (change > 12).mean() > 1 / 20


def test_a_listener_answers_what_the_speaker_does_and_only_afterwards() -> None:
    """Change one act of the speaker: the listener is the same until it begins, then another."""
    people = make_person(2, 1), make_person(2, 2)
    before = (
        Segment(0, Act.TELL, -160.0, 100.0, 0.9),
        Segment(0, Act.JOKE, 100.0, 200.0, 0.9),
        Segment(1, Act.TELL, 200.0, 400.0, 0.9),
    )
    after = (before[0], replace(before[1], act=Act.COMPLAIN), before[2])
    one = perform(before, people, 300, generator(2, "play"))[1].state
    two = perform(after, people, 300, generator(2, "play"))[1].state
    change = np.abs(one - two)[:, Channel.SMILE]
    lag = people[1].lag_frames
    assert change[: 100 + int(lag) - 20].max() < 1e-9
    assert change[100 + int(lag) + 20 : 195].min() > 0.4
    assert change[250:].max() < 1e-9


def test_lags_are_between_0_3_and_1_2_seconds() -> None:
    lags = np.array([make_person(0, n).lag_frames for n in range(300)]) / 25
    assert lags.min() > 0.3
    assert lags.max() < 1.2
    assert lags.std() > 0.1


def test_people_prefer_different_reactions_to_one_script() -> None:
    styles = {make_person(0, n).styles for n in range(60)}
    assert len(styles) > 20


def test_a_script_is_played_with_its_own_timing_each_time() -> None:
    script = make_plan(3, NOMINAL_FRAMES, 0).scripts[0]
    first, second = play(script, generator(0, "a")), play(script, generator(0, "b"))
    shifts = [a.start_frames - b.start_frames for a, b in zip(first, second, strict=True)]
    assert [s.act for s in first] == [s.act for s in script]
    assert 1 < np.abs(shifts).mean() < 10
    assert np.abs(shifts).max() <= 16


def test_a_recording_depends_on_nothing_but_seed_and_clip() -> None:
    plan = make_plan(5, 60, seed=9)
    alone = record(plan, plan.clips[3])[1]
    for clip in plan.clips:
        record(plan, clip)
    again = record(make_plan(5, 60, seed=9), plan.clips[3])[1]
    np.testing.assert_array_equal(alone.emotion, again.emotion)
    np.testing.assert_array_equal(alone.coefficients, again.coefficients)
    other = record(make_plan(5, 60, seed=10), plan.clips[3])[1]
    assert not np.array_equal(alone.coefficients, other.coefficients)
