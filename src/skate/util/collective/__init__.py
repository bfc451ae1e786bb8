"""Collective operations between actors or tasks, on NumPy arrays and CPU tensors, in shared memory.

```python
@skate.remote
class Worker:
    def setup(self, size, rank):
        collective.init_collective_group(size, rank, backend="gloo", group_name="ring")
    def sum(self):
        array = np.ones(4)
        collective.allreduce(array, group_name="ring")
        return array
```
"""

from skate.util.collective.api import (
    allgather,
    allreduce,
    barrier,
    broadcast,
    create_collective_group,
    destroy_collective_group,
    get_collective_group_size,
    get_group_handle,
    get_rank,
    gloo_available,
    init_collective_group,
    is_group_initialized,
    nccl_available,
    recv,
    reduce,
    reducescatter,
    send,
)
from skate.util.collective.types import Backend, ReduceOp

__all__ = [
    "Backend",
    "ReduceOp",
    "allgather",
    "allreduce",
    "barrier",
    "broadcast",
    "create_collective_group",
    "destroy_collective_group",
    "get_collective_group_size",
    "get_group_handle",
    "get_rank",
    "gloo_available",
    "init_collective_group",
    "is_group_initialized",
    "nccl_available",
    "recv",
    "reduce",
    "reducescatter",
    "send",
]
