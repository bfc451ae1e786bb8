"""Resources: num_gpus gives each worker its own device. `num_gpus=2` here pretends, so that the program runs anywhere."""

import os

import skate

skate.init(num_cpus=2, num_gpus=2)


@skate.remote(num_gpus=1)
class Trainer:
    def device(self) -> str:
        return os.environ["CUDA_VISIBLE_DEVICES"]


trainers = [Trainer.remote() for _ in range(2)]
print(sorted(skate.get([trainer.device.remote() for trainer in trainers])))
print("free GPUs:", skate.available_resources().get("GPU", 0))
