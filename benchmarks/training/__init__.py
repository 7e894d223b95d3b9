"""Training: what a step, a checkpoint, a resume and a sweep cost."""
