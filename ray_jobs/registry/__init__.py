"""Registry: candidates are judged, and champions put in service."""
