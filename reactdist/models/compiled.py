"""torch.compile for the parts of a model that cost most, where a run asks for it.

Off by default: on a CPU compiling takes longer than a short run and gains nothing (README.md).
What was compiled is kept by torch on disk (TORCHINDUCTOR_CACHE_DIR, by default below /tmp), so that
only the first process on a machine pays for it.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import torch

log = logging.getLogger("reactdist.models")

# The eager generator's numbers: dropout of a seeded step is the same with and without.
_OPTIONS: dict[str, Any] = {"fallback_random": True}


@functools.cache
def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function`, compiled at its first call for each kind of input; the same one for every caller.

    Give it a method as the class has it: then all models of a process share what was compiled.
    Where compiling fails (no C++ compiler, no Triton) a warning says so once, and the function
    runs as it is from then on.
    """
    from torch._dynamo.exc import TorchDynamoException

    run = torch.compile(function, options=_OPTIONS)

    def call(*args: Any) -> Any:
        nonlocal run
        try:
            return run(*args)
        except TorchDynamoException as error:
            reason = str(error).splitlines()[0]
            log.warning("torch.compile does not work here, going on without it: %s", reason)
            run = function
            return run(*args)

    return call
