"""wait: handle results in the order in which they are ready, with a bounded number in flight."""

import skate


@skate.remote
def collatz_length(n: int) -> tuple[int, int]:
    length, value = 1, n
    while value != 1:
        value = value // 2 if value % 2 == 0 else 3 * value + 1
        length += 1
    return length, n


longest = (0, 0)
pending: list = []
for n in range(1, 2001):
    pending.append(collatz_length.remote(n))
    if len(pending) > 100:
        [ready], pending = skate.wait(pending)
        longest = max(longest, skate.get(ready))
longest = max(longest, *skate.get(pending))
print("longest below 2001:", longest)
