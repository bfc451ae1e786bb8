"""Actors: an object that lives in a worker and keeps its state between calls."""

import skate


@skate.remote
class Leaderboard:
    def __init__(self) -> None:
        self.scores: dict[str, int] = {}

    def add(self, player: str, points: int) -> int:
        self.scores[player] = self.scores.get(player, 0) + points
        return self.scores[player]

    def best(self) -> tuple[str, int]:
        return max(self.scores.items(), key=lambda entry: entry[1])


@skate.remote
def play(player: str, board: Leaderboard) -> None:  # The handle travels to the task like any value.
    for points in range(10):
        skate.get(board.add.remote(player, points))


board = Leaderboard.remote()
skate.get([play.remote(player, board) for player in ("ada", "grace", "linus")])
skate.get(board.add.remote("grace", 5))
print(skate.get(board.best.remote()))
