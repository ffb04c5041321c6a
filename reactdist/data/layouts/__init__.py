"""The layouts there are. A new one is a file here and a name in one of these tuples."""

from reactdist.data.layouts.base import EmotionLayout, VideoHeader, VideoLayout
from reactdist.data.layouts.by_person import EmotionByPerson
from reactdist.data.layouts.by_role import EmotionByRole
from reactdist.data.layouts.mp4 import Mp4Video
from reactdist.data.layouts.packed import PackedVideo
from reactdist.data.layouts.png import PngVideo

VIDEO_FOLDERS = ("Video_files", "cropped_face", "video_data")
AUDIO_FOLDER, EMOTION_FOLDER, COEFFICIENTS_FOLDER = "Audio_files", "Emotion", "3D_FV_files"
VIDEO_LAYOUTS: tuple[VideoLayout, ...] = (Mp4Video(), PackedVideo(), PngVideo())
EMOTION_LAYOUTS: tuple[EmotionLayout, ...] = (EmotionByRole(), EmotionByPerson())

__all__ = [
    "AUDIO_FOLDER",
    "COEFFICIENTS_FOLDER",
    "EMOTION_FOLDER",
    "EMOTION_LAYOUTS",
    "VIDEO_FOLDERS",
    "VIDEO_LAYOUTS",
    "EmotionLayout",
    "VideoHeader",
    "VideoLayout",
]
