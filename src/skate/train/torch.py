"""PyTorch: a process group among the workers, DDP and FSDP, data loaders that each see their own part.

The process group's store is opened by rank 0 on a port that the kernel chooses, so two runs never meet. Gloo is told which interface to
use (on one machine the loopback): it needs no host name that resolves.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

from skate.train import context
from skate.train.framework import Framework
from skate.train.hosts import interface_of, listen_on
from skate.train.options import with_suggestions
from skate.train.trainer import FunctionTrainer, _refuse_unknown

if TYPE_CHECKING:
    from skate.train.config import ScalingConfig
    from skate.train.context import Session

__all__ = [
    "TorchConfig", "TorchTrainer", "backward", "get_device", "get_devices", "prepare_data_loader", "prepare_model", "prepare_optimizer",
]  # fmt: skip

_PRECISIONS = {"bf16": "bfloat16", "fp16": "float16"}


@with_suggestions
@dataclass(frozen=True)
class TorchConfig:
    """How the workers talk.

    Attributes:
        backend: "gloo", "nccl"; None: nccl with GPUs, gloo without. Naming "gloo" with `use_gpu` also allows machines where Torch sees no GPU.
        timeout_s: A collective operation that takes longer fails. A worker's death is noticed at once in any case.
        threads_per_worker: Torch's threads in each worker; None: the machine's cores are shared out, unless OMP_NUM_THREADS says something.
    """

    backend: str | None = None
    timeout_s: float = 1800.0
    threads_per_worker: int | None = None

    def __post_init__(self) -> None:
        if self.backend not in (None, "gloo", "nccl", "mpi", "ucc"):
            raise ValueError(f"TorchConfig: backend={self.backend!r} must be 'gloo', 'nccl' or None")
        if not self.timeout_s > 0:
            raise ValueError(f"TorchConfig: timeout_s={self.timeout_s!r} must be a positive number of seconds")


class TorchFramework(Framework):
    """A `torch.distributed` process group per attempt."""

    name = "torch"
    is_warm_up_worthwhile = True
    # The last two are what the first wrapped model and the first optimizer step import: it takes as long as torch itself.
    preload = ("torch", "torch.distributed", "torch.nn.parallel", "torch._dynamo")

    def __init__(self, config: TorchConfig) -> None:
        self._config = config

    def check(self, scaling: ScalingConfig) -> None:
        _need_torch()
        self._wants_gpu = scaling.use_gpu

    def __getstate__(self) -> dict[str, Any]:
        return {"_config": self._config, "_wants_gpu": self.__dict__.get("_wants_gpu", False)}

    def prepare(self, rank: int, world_size: int, address: str) -> dict[str, Any]:
        import torch

        dist = _dist()
        if self._wants_gpu and not torch.cuda.is_available() and self._config.backend != "gloo":
            raise RuntimeError(
                "use_gpu=True, but Torch sees no CUDA device in this worker (CUDA_VISIBLE_DEVICES="
                f"{os.environ.get('CUDA_VISIBLE_DEVICES')!r}, torch {torch.__version__}): install a CUDA build, or use_gpu=False"
            )
        if rank > 0 or world_size == 1:
            return {}
        global _store
        # Told to listen by itself, the store does so on all interfaces.
        listener = listen_on(address)
        _store = dist.TCPStore(
            address, listener.getsockname()[1], world_size, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60),
            master_listen_fd=listener.detach(),
        )  # fmt: skip
        return {"store_port": _store.port}

    def warm_up(self) -> None:
        for name in self.preload:
            import_module(name)

    def set_up(self, session: Session) -> None:
        import torch

        dist = _dist()
        one = session.assignment
        threads = self._config.threads_per_worker
        if threads is None and "OMP_NUM_THREADS" not in os.environ:
            threads = max(1, len(os.sched_getaffinity(0)) // one.local_world_size)
        if threads is not None:
            torch.set_num_threads(threads)
        has_gpu = self._wants_gpu and torch.cuda.is_available()
        session.framework["device"] = torch.device("cuda", 0) if has_gpu else torch.device("cpu")
        # What launchers of Torch set, and scripts read.
        os.environ.update({
            "RANK": str(one.rank), "WORLD_SIZE": str(one.world_size), "LOCAL_RANK": str(one.local_rank),
            "LOCAL_WORLD_SIZE": str(one.local_world_size), "NODE_RANK": str(one.node_rank),
        })  # fmt: skip
        if one.world_size == 1:
            return
        peers = one.rendezvous["peers"]
        timeout = timedelta(seconds=self._config.timeout_s)
        interface = interface_of(peers[one.rank]["address"])
        if interface is not None:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        host, port = peers[0]["address"], peers[0]["store_port"]
        os.environ.update({"MASTER_ADDR": host, "MASTER_PORT": str(port)})
        store = (
            _store if one.rank == 0 else dist.TCPStore(host, port, one.world_size, is_master=False, timeout=timedelta(seconds=60))
        )
        session.framework["store"] = store
        backend = self._config.backend or ("nccl" if has_gpu else "gloo")
        # A prefix: survivors of a broken group may still hold keys of theirs in a store of the same port.
        dist.init_process_group(
            backend,
            store=dist.PrefixStore(f"attempt-{one.attempt}", store),
            rank=one.rank,
            world_size=one.world_size,
            timeout=timeout,
        )

    def tear_down(self, session: Session) -> None:
        global _store
        dist = _dist()
        _scalers.clear()
        if dist.is_initialized():
            try:
                dist.destroy_process_group()
            except Exception:  # The group is broken: that is why it is torn down.
                pass
        session.framework.clear()
        _store = None

    def interrupt(self, session: Session) -> None:
        """A loop that waits in a collective operation of a broken group is woken by its error; ending the group makes that sure."""
        dist = _dist()
        if dist.is_initialized():
            try:
                dist.distributed_c10d._abort_process_group()
            except Exception:  # Not in every version, not for every backend.
                pass


_store: Any = None  # Rank 0's, between prepare and set_up.
_scalers: dict[int, Any] = {}  # id(optimizer) → GradScaler


class TorchTrainer(FunctionTrainer):
    """Runs a Torch training loop on N workers that are one process group.

    Args:
        torch_config: How they talk.
        Others: see `FunctionTrainer`.
    """

    framework_class = TorchFramework

    def _make_framework(self, options: dict[str, Any]) -> Framework:
        config = options.pop("torch_config", None)
        _refuse_unknown("TorchTrainer", options, ("torch_config",))
        if config is not None and not isinstance(config, TorchConfig):
            raise TypeError(f"TorchTrainer: torch_config must be a TorchConfig, not {type(config).__name__}")
        return TorchFramework(config or TorchConfig())


def _dist() -> Any:
    return import_module("torch.distributed")


def _need_torch() -> None:
    from importlib.util import find_spec

    if find_spec("torch") is None:
        raise ImportError("TorchTrainer needs PyTorch: pip install 'skate[train]'")


# ---------------------------------------------------------------- inside the loop


def get_device() -> Any:
    """This worker's torch.device: its GPU, or the CPU."""
    return context.session().framework["device"]


def get_devices() -> list[Any]:
    return [get_device()]


def prepare_model(
    model: Any,
    move_to_device: bool = True,
    parallel_strategy: str | None = "ddp",
    parallel_strategy_kwargs: dict[str, Any] | None = None,
    *,
    mixed_precision: str | None = None,
) -> Any:
    """Move a model to this worker's device, and keep its gradients in step with the other workers'.

    Args:
        parallel_strategy: "ddp": each worker has the whole model; "fsdp": each has a part of its weights; None: no wrapping.
        parallel_strategy_kwargs: For DistributedDataParallel or fully_shard.
        mixed_precision: "bf16" or "fp16": the forward pass runs in it. With "fp16" also use `prepare_optimizer` and `backward`, which scale the loss.

    Raises:
        ValueError: An option that does not exist.
    """
    import torch

    if parallel_strategy not in (None, "ddp", "fsdp"):
        raise ValueError(f"prepare_model: parallel_strategy={parallel_strategy!r} must be 'ddp', 'fsdp' or None")
    if mixed_precision is not None and mixed_precision not in _PRECISIONS:
        raise ValueError(f"prepare_model: mixed_precision={mixed_precision!r} must be 'bf16', 'fp16' or None")
    one, device = context.session().assignment, get_device()
    if move_to_device:
        model = model.to(device)
    if mixed_precision is not None:
        _autocast_forward(model, device.type, getattr(torch, _PRECISIONS[mixed_precision]))
    if one.world_size == 1 or parallel_strategy is None:
        return model
    options = dict(parallel_strategy_kwargs or {})
    if parallel_strategy == "fsdp":
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        options.setdefault("mesh", init_device_mesh(device.type, (one.world_size,)))
        for part in model.children():
            if any(True for _ in part.parameters()):
                fully_shard(part, **options)
        fully_shard(model, **options)
        return model
    from torch.nn.parallel import DistributedDataParallel

    if not any(parameter.requires_grad for parameter in model.parameters()):
        return model
    if device.type == "cuda":
        options.setdefault("device_ids", [device])
    return DistributedDataParallel(model, **options)


def _autocast_forward(model: Any, device_type: str, dtype: Any) -> None:
    import torch

    forward = model.forward

    def in_mixed_precision(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast(device_type, dtype=dtype):
            return forward(*args, **kwargs)

    model.forward = in_mixed_precision


def prepare_optimizer(optimizer: Any) -> Any:
    """For "fp16": `step()` skips steps whose gradients overflowed, and adapts the scale of the loss. Use it with `backward`."""
    import torch

    scaler = torch.amp.GradScaler(get_device().type)
    _scalers[id(optimizer)] = scaler
    step = optimizer.step

    def scaled_step(*args: Any, **kwargs: Any) -> Any:
        optimizer.step = step
        try:
            result = scaler.step(optimizer, *args, **kwargs)
        finally:
            optimizer.step = scaled_step
        scaler.update()
        return result

    optimizer.step = scaled_step
    return optimizer


def backward(loss: Any) -> None:
    """`loss.backward()`, with the loss scaled for those optimizers that `prepare_optimizer` has prepared."""
    scaler = next(iter(_scalers.values()), None)
    (scaler.scale(loss) if scaler is not None else loss).backward()


def prepare_data_loader(
    data_loader: Any, add_dist_sampler: bool = True, move_to_device: bool = True, auto_transfer: bool = True
) -> Any:
    """A loader of this worker's part of the data: a DistributedSampler, and batches moved to its device. Shuffled anew in each epoch when the loader was.

    Args:
        add_dist_sampler: False: each worker sees all of it.
        auto_transfer: Accepted for Ray's programs.
    """
    import torch.utils.data as data

    one, device = context.session().assignment, get_device()
    has_rows = not isinstance(data_loader.dataset, data.IterableDataset)
    if one.world_size > 1 and add_dist_sampler and has_rows:  # noqa: SIM102
        if not isinstance(data_loader.sampler, data.DistributedSampler):
            is_shuffled = isinstance(data_loader.sampler, data.RandomSampler)
            if not is_shuffled and not isinstance(data_loader.sampler, data.SequentialSampler):
                raise ValueError(
                    f"prepare_data_loader: the loader has a {type(data_loader.sampler).__name__}, which can't be shared out; give it a DistributedSampler "
                    "of your own, or add_dist_sampler=False"
                )
            seed = data_loader.generator.initial_seed() if data_loader.generator is not None else 0
            sampler: Any = data.DistributedSampler(
                data_loader.dataset, one.world_size, one.rank, shuffle=is_shuffled, seed=seed, drop_last=data_loader.drop_last
            )
            data_loader = data.DataLoader(
                data_loader.dataset,
                batch_size=data_loader.batch_size,
                sampler=sampler,
                num_workers=data_loader.num_workers,
                collate_fn=data_loader.collate_fn,
                pin_memory=data_loader.pin_memory,
                drop_last=data_loader.drop_last,
                timeout=data_loader.timeout,
                worker_init_fn=data_loader.worker_init_fn,
                multiprocessing_context=data_loader.multiprocessing_context,
                generator=data_loader.generator,
                persistent_workers=data_loader.persistent_workers,
            )
    return _PreparedLoader(data_loader, device if move_to_device else None)


class _PreparedLoader:
    """A DataLoader whose epochs count by themselves, and whose batches lie on the device."""

    def __init__(self, loader: Any, device: Any) -> None:
        self._loader, self._device = loader, device
        self._epoch = 0

    def __iter__(self) -> Any:
        sampler = self._loader.sampler
        if hasattr(sampler, "set_epoch"):
            sampler.set_epoch(self._epoch)
        self._epoch += 1
        for batch in self._loader:
            yield _moved(batch, self._device) if self._device is not None and self._device.type != "cpu" else batch

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next: for a loop that resumes."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def _moved(value: Any, device: Any) -> Any:
    if hasattr(value, "to"):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {name: _moved(one, device) for name, one in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_moved(one, device) for one in value))
    if isinstance(value, list | tuple):
        return type(value)(_moved(one, device) for one in value)
    return value
