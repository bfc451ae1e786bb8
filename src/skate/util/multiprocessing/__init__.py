"""`Pool`: the API of `multiprocessing.Pool` on actors. Importable as a drop-in: `from skate.util.multiprocessing import Pool`."""

from multiprocessing import TimeoutError

from skate.util.multiprocessing.pool import Pool
from skate.util.multiprocessing.results import AsyncResult, IMapIterator

__all__ = ["AsyncResult", "IMapIterator", "Pool", "TimeoutError"]
