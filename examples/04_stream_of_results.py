"""Streaming generators: use the first results while the rest is still being made."""

from collections.abc import Iterator

import skate


@skate.remote
def primes(below: int) -> Iterator[int]:
    for n in range(2, below):
        if all(n % d for d in range(2, int(n**0.5) + 1)):
            yield n


total = 0
for ref in primes.remote(1_000_000):
    total += skate.get(ref)
    if total > 1000:
        break  # Letting go of the stream stops its task.
print(total)
