"""Async actors: thousands of waits at once in one process, and refs that can be awaited."""

import asyncio

import skate


@skate.remote
class Crawler:
    async def fetch(self, page: int) -> int:
        await asyncio.sleep(0.1)  # A request to somewhere slow.
        return page * page


async def main() -> None:
    crawler = Crawler.remote()
    pages = await asyncio.gather(*[crawler.fetch.remote(page) for page in range(100)])
    print(sum(pages))


asyncio.run(main())
