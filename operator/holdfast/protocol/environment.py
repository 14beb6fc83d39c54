"""What a Job's container is started with: its variables, and the folder that everything is mounted below."""

TASK_VARIABLE = "HOLDFAST_TASK"
ROOT_VARIABLE = "HOLDFAST_ROOT"
POD_VARIABLE = "HOLDFAST_POD"
"""The pod's name, which makes an attempt's folder unique."""
TERMINATION_VARIABLE = "HOLDFAST_TERMINATION_LOG"
"""The file of the termination message, where that is not the one that Kubernetes gives a container."""
DEFAULT_ROOT = "/holdfast"
