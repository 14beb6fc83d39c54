"""What lies in a destination: manifests, catalogue entries, and how they are read, copied and checked."""
