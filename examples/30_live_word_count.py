"""The streaming word count of 2018: articles keep coming, and after every 20 of them the top words of that range are known.

Mappers and reducers are actors. An article's number is its time, so a range of articles is a window of 20 "seconds".
"""

import re
from pydoc_data.topics import topics  # Real articles that every Python has: its own documentation.

from skate.streaming import Stream, Tumbling

articles = [(number, topics[title]) for number, title in enumerate(sorted(topics))]
ranges = Tumbling(20)

top_words = (
    Stream.from_list(articles)
    .event_time(lambda article: article[0])
    .flat_map(lambda article: re.findall(r"[a-z]{6,}", article[1].lower()))
    .key_by()  # A word is its own key.
    .window(ranges)
    .count()
    .key_by(lambda counted: "all words")
    .window(ranges)
    .top_k(3, by=lambda counted: counted.value)
)

for top in top_words.iterate():
    words = ", ".join(f"{counted.key} {counted.value}" for counted in top.value)
    print(f"articles {top.start_s:.0f} to {top.end_s - 1:.0f}: {words}")
