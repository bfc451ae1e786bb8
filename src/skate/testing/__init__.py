"""For tests of the engine and of what is built on it: a simulator that runs the scheduler under seeded faults. Nothing imports this package."""

from skate.testing.simulated_processes import SimulatedActor, SimulatedProcess, SimulatedTask, SimulatedWorker
from skate.testing.simulator import SimulationError, Simulator

__all__ = ["SimulatedActor", "SimulatedProcess", "SimulatedTask", "SimulatedWorker", "SimulationError", "Simulator"]
