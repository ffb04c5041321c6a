"""One rank of a real run without Ray: gloo, `run_worker`, stopped after a step as asked."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import torch

from reactdist.config import parse
from reactdist.errors import DataError
from reactdist.train.loop import Preempted, Reporter, StepRecord
from reactdist.train.settings import TrainSettings
from reactdist.train.worker import run_worker


class Recorder(Reporter):
    """Keeps losses by step; asks for a stop, as a scheduler would, during step `stop_after`."""

    def __init__(self, stop_after: int | None) -> None:
        self.losses: dict[int, dict[str, float]] = {}
        self.stop_after = stop_after

    def step(self, record: StepRecord) -> None:
        self.losses[record.step] = dict(record.losses)
        if self.stop_after is not None and record.step == self.stop_after - 1:
            os.kill(os.getpid(), signal.SIGTERM)


def main() -> None:
    request = json.loads(sys.argv[1])
    rank, world = request["rank"], request["world"]
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    store = torch.distributed.FileStore(request["store"], world)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=world)
    recorder = Recorder(request.get("stop_after"))
    settings = parse(TrainSettings, request["settings"])
    try:
        run_worker(settings, torch.device("cpu"), [recorder])
    except Preempted:
        assert recorder.stop_after is not None
    except DataError as error:
        Path(f"{request['out']}-error-{rank}").write_text(error.line())
    if rank == 0:
        Path(request["out"]).write_text(json.dumps(recorder.losses))


main()
