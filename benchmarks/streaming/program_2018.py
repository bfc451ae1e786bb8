"""The streaming MapReduce of 2018 (Ray's example, after its idea): `python -m benchmarks.streaming.program_2018 skate|ray [ROUNDS]`.

Mappers fetch articles when they are asked for a round; reducers own ranges of letters and pull from all mappers. The program is the same
for both but for the import.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections import Counter, defaultdict
from pydoc_data.topics import topics
from typing import Any

from benchmarks.streaming.answer import digest, hand_in

if sys.argv[1] == "ray":
    import ray  # type: ignore[import-not-found, unused-ignore]
else:
    import skate as ray  # type: ignore[no-redef]

MAPPERS, REDUCERS = 3, 4


@ray.remote(num_cpus=0)
class Mapper:
    def __init__(self, articles: list[str]) -> None:
        self.articles = articles
        self.counts: list[Counter[str]] = []

    def get_range(self, number: int, first: str, last: str) -> list[tuple[str, int]]:
        while len(self.counts) <= number:
            article = self.articles[len(self.counts) % len(self.articles)]
            self.counts.append(Counter(article.split(" ")))
        return [(word, count) for word, count in self.counts[number].items() if word and first <= word[0] <= last]


@ray.remote(num_cpus=0)
class Reducer:
    def __init__(self, first: str, last: str, *mappers: Any) -> None:
        self.first, self.last, self.mappers = first, last, mappers

    def next_result(self, number: int) -> dict[str, int]:
        sums: dict[str, int] = defaultdict(int)
        for ref in [mapper.get_range.remote(number, self.first, self.last) for mapper in self.mappers]:
            for word, count in ray.get(ref):
                sums[word] += count
        return dict(sums)


def main() -> None:
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 300
    articles = [topics[title] for title in sorted(topics)]
    started = time.perf_counter()
    ray.init(num_cpus=2)
    mappers = [Mapper.remote(articles[i::MAPPERS]) for i in range(MAPPERS)]
    ranges = [("a", "g"), ("h", "n"), ("o", "t"), ("u", "z")]
    reducers = [Reducer.remote(first, last, *mappers) for first, last in ranges]
    took: list[float] = []
    answer = []
    for number in range(rounds):
        before = time.perf_counter()
        counts: dict[str, int] = {}
        for part in ray.get([reducer.next_result.remote(number) for reducer in reducers]):
            counts.update(part)
        answer += [(number, word, counts[word]) for word in heapq.nlargest(10, counts, key=lambda word: (counts[word], word))]
        took.append(time.perf_counter() - before)
    seconds = time.perf_counter() - started
    ordered = sorted(took[20:])
    hand_in(
        side=sys.argv[1], rounds=rounds, first_round_s=seconds - sum(took[1:]), p50_ms=1000 * ordered[len(ordered) // 2],
        p99_ms=1000 * ordered[len(ordered) * 99 // 100], rounds_per_s=(rounds - 20) / sum(took[20:]), answer=digest(answer),
    )  # fmt: skip
    ray.shutdown()


if __name__ == "__main__":
    main()
