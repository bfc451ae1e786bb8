"""Failures: a remote exception can be caught as what it is, and a dead worker costs a retry."""

import os
import tempfile

import skate


@skate.remote
def parse(text: str) -> int:
    return int(text)


try:
    skate.get(parse.remote("forty-two"))
except ValueError as error:
    print("caught a", ValueError.__name__, "with the remote traceback:", "forty-two" in str(error))


@skate.remote(max_retries=1)
def die_once(marker: str) -> str:
    if not os.path.exists(marker):
        open(marker, "w").close()
        os.kill(os.getpid(), 9)
    return "second attempt"


with tempfile.TemporaryDirectory() as directory:
    print(skate.get(die_once.remote(os.path.join(directory, "marker"))))
