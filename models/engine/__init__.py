"""Engine: DeepSpeed ZeRO, the optimizer, averages and checkpoints of one training process."""
