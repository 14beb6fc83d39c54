"""A one-node Kubernetes cluster for machines without a container daemon, with the verbs of kind."""
