"""The two pure-torch parts of torchaudio that the audio features need, importable without CUDA.

PyPI's torchaudio carries an extension linked against CUDA, so on a CPU build of torch
`import torchaudio` ends in OSError. Neither Kaldi's MFCC nor the deltas touch the extension:
when, and only when, the import fails that way, an empty module takes its place.
A CUDA install imports normally and keeps its extension.
"""

from __future__ import annotations

import sys
from types import ModuleType


def _import_torchaudio() -> None:
    try:
        import torchaudio  # noqa: F401
    except OSError:
        # A failed import leaves half-initialised submodules behind; they must be imported anew.
        for name in [n for n in sys.modules if n == "torchaudio" or n.startswith("torchaudio.")]:
            del sys.modules[name]
        sys.modules["torchaudio._extension"] = _stand_in()


def _stand_in() -> ModuleType:
    module = ModuleType("torchaudio._extension")
    module.__dict__.update(
        _IS_TORCHAUDIO_EXT_AVAILABLE=False,
        _IS_ALIGN_AVAILABLE=False,
        fail_if_no_align=lambda function: function,
    )
    return module


_import_torchaudio()

from torchaudio.compliance.kaldi import mfcc  # noqa: E402
from torchaudio.functional import compute_deltas  # noqa: E402

__all__ = ["compute_deltas", "mfcc"]
