"""Builds the images of Holdfast, and loads them into the local cluster."""
