"""`skate rl train|eval|play`: reinforcement learning from the command line.

skate rl train ppo CartPole-v1 --steps 100000 --workers 2 --until 475 --save cartpole.skate
skate rl eval cartpole.skate --episodes 100
skate rl play cartpole.skate --video cartpole.mp4
"""

from __future__ import annotations

import argparse
import ast
from typing import Any

from skate.cli.failure import CommandError

NAMES = {
    "ppo": "PPO",
    "a2c": "A2C",
    "a3c": "A3C",
    "impala": "IMPALA",
    "dqn": "DQN",
    "apex": "ApeX",
    "sac": "SAC",
    "td3": "TD3",
    "es": "ES",
}


def add_arguments(parser: argparse.ArgumentParser, command: str) -> None:
    del command
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    train = actions.add_parser("train", help="learn, with a line of progress")
    train.add_argument("algorithm", choices=list(NAMES), help="which algorithm")
    train.add_argument("env", help="a Gymnasium id, such as CartPole-v1 or ALE/Pong-v5")
    train.add_argument("--steps", type=int, default=100_000, help="environment steps (100000)")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--workers", type=int, default=None, help="runners as processes of their own")
    train.add_argument(
        "--until", type=float, default=None, metavar="RETURN", help="stop when an evaluation over 100 episodes reaches it"
    )
    train.add_argument("--save", metavar="FILE", help="write a checkpoint every minute and at the end")
    train.add_argument("--resume", metavar="FILE", help="go on from a checkpoint")
    train.add_argument("--tensorboard", metavar="DIR", help="write curves for TensorBoard")
    train.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, such as lr=3e-4; may be repeated"
    )
    evaluation = actions.add_parser("eval", help="play whole episodes with seeds training has not seen")
    evaluation.add_argument("checkpoint")
    evaluation.add_argument("--episodes", type=int, default=100)
    evaluation.add_argument("--seed", type=int, default=None)
    play = actions.add_parser("play", help="film an episode")
    play.add_argument("checkpoint")
    play.add_argument("--video", default="episode.mp4", metavar="FILE")
    play.add_argument("--seed", type=int, default=0)


def run(arguments: argparse.Namespace) -> int:
    try:
        from skate import rl

        match arguments.action:
            case "train":
                return _train(arguments)
            case "eval":
                with rl.load(arguments.checkpoint, num_workers=0) as algorithm:
                    print(algorithm.evaluate(arguments.episodes, seed=arguments.seed))
            case "play":
                from skate.rl.video import film

                with rl.load(arguments.checkpoint, num_workers=0) as algorithm:
                    total, steps = film(algorithm, arguments.video, seed=arguments.seed)
                print(f"{arguments.video}: one episode of {steps} steps, return {total:.2f}")
    except (ImportError, FileNotFoundError, TypeError, ValueError) as error:
        raise CommandError(str(error)) from error
    except Exception as error:
        if type(error).__module__.startswith("gymnasium."):  # An unknown id: Gymnasium says what is near.
            raise CommandError(str(error)) from error
        raise
    return 0


def _train(arguments: argparse.Namespace) -> int:
    from skate import rl

    changes = dict(_setting(text) for text in arguments.set)
    if arguments.workers is not None:
        changes["num_workers"] = arguments.workers
    callbacks = [rl.TensorBoard(arguments.tensorboard)] if arguments.tensorboard else []
    if arguments.resume:
        algorithm = rl.load(arguments.resume, callbacks=callbacks, **changes)
    else:
        algorithm = getattr(rl, NAMES[arguments.algorithm])(arguments.env, seed=arguments.seed, callbacks=callbacks, **changes)
    with algorithm:
        result = algorithm.train(arguments.steps, until_return=arguments.until, checkpoint=arguments.save, progress=True)
        evaluation = result.evaluation or algorithm.evaluate(20)
    print(f"{result.steps:,} steps in {result.seconds:.1f} s; {evaluation}")
    return 0 if arguments.until is None or evaluation.mean >= arguments.until else 1


def _setting(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(f"--set {text}: write it as NAME=VALUE, such as --set lr=3e-4")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
