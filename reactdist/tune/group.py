"""A trial that is a Ray Train group: its reports, and what the cluster must offer for its end.

Ray Tune ends such a trial by killing its driver. The group's placement group is then removed by
Ray Train's own cleaner, which finds out through the State API; without a dashboard it never does,
and every later trial waits for ever.
"""

from __future__ import annotations

import os
from typing import Any

from ray.tune.integration.ray_train import TuneReportCallback

from reactdist.errors import InputError
from reactdist.tune.trial import as_result

_ANSWER_TIMEOUT_S = 20


class GroupReports(TuneReportCallback):
    """Every evaluation of the group but the last to Ray Tune (see `TuneReporter`)."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Rank 0's report, in the form of an in-process trial's."""
        values = dict(metrics[0])
        epoch, step = values.pop("epoch"), values.pop("step")
        if epoch < self._epochs:
            super().after_report(run_context, [as_result(epoch, step, values)], None)


def name_the_cluster() -> None:
    """Tell the processes of a group, its cleaner among them, which cluster they belong to.

    The State API looks for one on its machine and gives up where it finds two; the cleaner then
    never learns that its group is gone. To be called in the process that starts the group.
    """
    import ray
    from ray.train.v2._internal.constants import ENV_VARS_TO_PROPAGATE

    os.environ["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address
    ENV_VARS_TO_PROPAGATE.add("RAY_ADDRESS")


def check_state_api(study: str) -> None:
    """Ask Ray's State API one question, in the connected session.

    Raises:
        InputError: it does not answer.
    """
    import ray
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        # By its address: several clusters may run on this machine.
        address = ray.get_runtime_context().gcs_address
        list_nodes(address=address, limit=1, timeout=_ANSWER_TIMEOUT_S)
    except (RayStateApiException, OSError, RuntimeError, ValueError) as error:
        said = str(error).strip().splitlines()
        raise InputError(
            "Ray's State API does not answer, so a trial stopped early would keep its workers' "
            f"places ({said[0][:120] if said else type(error).__name__})",
            where=study,
            fix="start the cluster's head with `ray[default]` and --include-dashboard=true",
        ) from None
