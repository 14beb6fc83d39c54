"""The process of a Job: its mounts, memory, CPUs, progress and termination message."""
