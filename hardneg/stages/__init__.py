"""Stages: their folders and manifests, code revisions, devices and progress."""
