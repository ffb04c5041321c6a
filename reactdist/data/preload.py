"""Imported once by the fork server, so that each worker process starts with everything loaded."""

import av  # noqa: F401
import PIL.Image  # noqa: F401
import pyarrow.csv
import pyarrow.parquet  # noqa: F401
import soundfile  # noqa: F401
import torch  # noqa: F401

import reactdist.data.inspection
import reactdist.data.shard_task
import reactdist.data.torchaudio_parts  # noqa: F401
