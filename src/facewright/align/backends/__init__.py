"""Face detectors, one a file; each imports its library only when it is made."""
