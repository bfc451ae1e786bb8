"""Reinforcement learning: time from a cold `python -m` to a solved CartPole, and the replay memory's rates."""
