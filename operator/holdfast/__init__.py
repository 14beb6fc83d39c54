"""Holdfast backs up, proves and restores the data stores of AI applications on Kubernetes."""

__version__ = "0.1.0"
