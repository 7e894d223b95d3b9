"""Worker: what one rank does, from restoring a checkpoint to the next step."""
