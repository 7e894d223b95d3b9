"""What is known about tensors: the model, its loss, optimizer, engine and checkpoints. No Ray."""
