"""The control plane: watches the three kinds and turns them into Jobs."""
