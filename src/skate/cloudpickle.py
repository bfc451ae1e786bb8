"""Alias of cloudpickle, for programs that say `ray.cloudpickle`."""

from cloudpickle import *  # noqa: F403
from cloudpickle import (
    CloudPickler as CloudPickler,
    Pickler as Pickler,
    dump as dump,
    dumps as dumps,
    load as load,
    loads as loads,
    register_pickle_by_value as register_pickle_by_value,
    unregister_pickle_by_value as unregister_pickle_by_value,
)
