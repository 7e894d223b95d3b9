"""Values whose schema lies in a registry: asked for once by its id, used to read, and never run."""
