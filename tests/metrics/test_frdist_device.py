"""The accelerator's DTW, run on the CPU, against the kernel and tslearn."""

import numpy as np
import pytest
import torch

from reactdist.metrics import score_items
from reactdist.metrics.frdist_device import frdist_on_device, squared_dtw
from reactdist.metrics.inputs import check_inputs


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 5), (7, 1), (9, 9), (12, 8), (8, 12)])
def test_dtw_of_pairs_of_any_length(rows: int, columns: int) -> None:
    from tslearn.metrics import dtw

    generator = np.random.default_rng(0)
    one, other = generator.random((3, rows, 4)), generator.random((3, columns, 4))
    ours = squared_dtw(torch.from_numpy(one), torch.from_numpy(other)).sqrt()
    np.testing.assert_allclose(ours, [dtw(a, b) for a, b in zip(one, other, strict=True)])


@pytest.mark.parametrize("pairs_at_once", [1, 5, 10_000])
def test_agrees_with_the_cpu_whatever_the_batch(pairs_at_once, clips, neighbours) -> None:
    arrays = clips(0, 4, 3, frames=70), clips(1, 4, frames=70), clips(2, 4, frames=70)
    inputs = check_inputs(*arrays, neighbours(0, 4))
    expected = score_items(*arrays, neighbours(0, 4), ["FRDist"])["FRDist"]
    ours = frdist_on_device(inputs, "cpu", pairs_at_once=pairs_at_once)
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_agrees_on_the_gpu(clips, neighbours) -> None:
    arrays = clips(0, 6, 3), clips(1, 6), clips(2, 6), neighbours(0, 6)
    here, there = score_items(*arrays), score_items(*arrays, device="cuda")
    for name in here.columns:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-4, err_msg=name)
