"""The feature extractor of the Fréchet Inception distance, for weights that the user brings.

Inception v3 (Szegedy et al. 2016, arXiv:1512.00567) as FID uses it: 2,048 pooled features, average
pools that leave the padding out, a max pool in the last block, batch norm epsilon 1e-3. Parameter
names are those of the usual `pt_inception-2015-12-05-6726825d.pth`.
"""

from __future__ import annotations

import hashlib
import pickle
import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reactdist.errors import InputError

INPUT_PIXELS = 299
FEATURES = 2048
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.pth$")


class InceptionFeatures(nn.Module):
    """(B, 3, H, W) uint8 pictures -> (B, 2048) float32 features."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = _Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Unit(32, 32, 3)
        self.Conv2d_2b_3x3 = _Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = _Unit(64, 80, 1)
        self.Conv2d_4a_3x3 = _Unit(80, 192, 3)
        self.Mixed_5b = _BlockA(192, 32)
        self.Mixed_5c = _BlockA(256, 64)
        self.Mixed_5d = _BlockA(288, 64)
        self.Mixed_6a = _BlockB(288)
        self.Mixed_6b = _BlockC(128)
        self.Mixed_6c = _BlockC(160)
        self.Mixed_6d = _BlockC(160)
        self.Mixed_6e = _BlockC(192)
        self.Mixed_7a = _BlockD()
        self.Mixed_7b = _BlockE(1280, max_pool=False)
        self.Mixed_7c = _BlockE(2048, max_pool=True)
        self.fc = nn.Linear(FEATURES, 1008)  # in the file, not used

    def forward(self, pictures: Tensor) -> Tensor:
        size = (INPUT_PIXELS, INPUT_PIXELS)
        x = F.interpolate(pictures.float() / 255, size, mode="bilinear", align_corners=False)
        x = 2 * x - 1
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = F.max_pool2d(x, 3, 2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = F.max_pool2d(x, 3, 2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean(dim=(2, 3))


def load_inception(path: str | Path, sha256: str | None = None) -> InceptionFeatures:
    """The extractor with the weights at `path`, in evaluation mode.

    Args:
        sha256: hexadecimal digits the file's SHA-256 must start with; default those in its name
            (`...-6726825d.pth`, PyTorch's convention).

    Raises:
        InputError: file missing, hash unknown or different, not these weights.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=path) from None
    named = _HASH_IN_NAME.search(path.name)
    wanted = sha256 or (named.group(1) if named else "")
    if not wanted:
        raise InputError(
            "the weights' hash is not known", where=path, fix="keep the file's name or give sha256"
        )
    if not hashlib.sha256(content).hexdigest().startswith(wanted.lower()):
        raise InputError(f"SHA-256 does not start with {wanted}", where=path, fix="download again")
    model = InceptionFeatures()
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        # Old files have no batch counters; nothing else may be missing.
        counters = {k: v for k, v in model.state_dict().items() if "num_batches" in k}
        model.load_state_dict({**counters, **state})
    except (RuntimeError, pickle.UnpicklingError, TypeError, EOFError) as error:
        raise InputError(
            f"are not the Inception weights of FID ({type(error).__name__})",
            where=path,
            fix="give pt_inception-2015-12-05-6726825d.pth",
        ) from None
    return model.eval()


class _Unit(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _across(inputs: int, outputs: int, width: int) -> _Unit:
    return _Unit(inputs, outputs, (1, width), padding=(0, width // 2))


def _down(inputs: int, outputs: int, width: int) -> _Unit:
    return _Unit(inputs, outputs, (width, 1), padding=(width // 2, 0))


def _average(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


class _BlockA(nn.Module):
    """(B, C, 35, 35) -> (B, 224 + pooled, 35, 35)."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = _Unit(inputs, 64, 1)
        self.branch5x5_1 = _Unit(inputs, 48, 1)
        self.branch5x5_2 = _Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = _Unit(inputs, 64, 1)
        self.branch3x3dbl_2 = _Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Unit(96, 96, 3, padding=1)
        self.branch_pool = _Unit(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_average(x))], 1)


class _BlockB(nn.Module):
    """(B, C, 35, 35) -> (B, C + 480, 17, 17)."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = _Unit(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Unit(inputs, 64, 1)
        self.branch3x3dbl_2 = _Unit(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = _Unit(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), three, F.max_pool2d(x, 3, 2)], 1)


class _BlockC(nn.Module):
    """(B, 768, 17, 17) -> (B, 768, 17, 17)."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.branch1x1 = _Unit(768, 192, 1)
        self.branch7x7_1 = _Unit(768, inner, 1)
        self.branch7x7_2 = _across(inner, inner, 7)
        self.branch7x7_3 = _down(inner, 192, 7)
        self.branch7x7dbl_1 = _Unit(768, inner, 1)
        self.branch7x7dbl_2 = _down(inner, inner, 7)
        self.branch7x7dbl_3 = _across(inner, inner, 7)
        self.branch7x7dbl_4 = _down(inner, inner, 7)
        self.branch7x7dbl_5 = _across(inner, 192, 7)
        self.branch_pool = _Unit(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), seven, twice, self.branch_pool(_average(x))], 1)


class _BlockD(nn.Module):
    """(B, 768, 17, 17) -> (B, 1280, 8, 8)."""

    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = _Unit(768, 192, 1)
        self.branch3x3_2 = _Unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Unit(768, 192, 1)
        self.branch7x7x3_2 = _across(192, 192, 7)
        self.branch7x7x3_3 = _down(192, 192, 7)
        self.branch7x7x3_4 = _Unit(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, 2)], 1)


class _BlockE(nn.Module):
    """(B, C, 8, 8) -> (B, 2048, 8, 8)."""

    def __init__(self, inputs: int, *, max_pool: bool) -> None:
        super().__init__()
        self.branch1x1 = _Unit(inputs, 320, 1)
        self.branch3x3_1 = _Unit(inputs, 384, 1)
        self.branch3x3_2a = _across(384, 384, 3)
        self.branch3x3_2b = _down(384, 384, 3)
        self.branch3x3dbl_1 = _Unit(inputs, 448, 1)
        self.branch3x3dbl_2 = _Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = _across(384, 384, 3)
        self.branch3x3dbl_3b = _down(384, 384, 3)
        self.branch_pool = _Unit(inputs, 192, 1)
        self._max_pool = max_pool

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        pooled = F.max_pool2d(x, 3, 1, 1) if self._max_pool else _average(x)
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(three),
                self.branch3x3_2b(three),
                self.branch3x3dbl_3a(twice),
                self.branch3x3dbl_3b(twice),
                self.branch_pool(pooled),
            ],
            1,
        )
