"""Alias of cloudpickle, for programs that say `ray.cloudpickle`."""

from cloudpickle import *  # noqa: F403
from cloudpickle import (
    CloudPickler as CloudPickler,
)
from cloudpickle import (
    Pickler as Pickler,
)
from cloudpickle import (
    dump as dump,
)
from cloudpickle import (
    dumps as dumps,
)
from cloudpickle import (
    load as load,
)
from cloudpickle import (
    loads as loads,
)
from cloudpickle import (
    register_pickle_by_value as register_pickle_by_value,
)
from cloudpickle import (
    unregister_pickle_by_value as unregister_pickle_by_value,
)
