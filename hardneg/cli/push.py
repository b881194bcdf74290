"""`hardneg push`: upload an exported encoder to the Hugging Face hub."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    command.add_argument("folder", type=Path, help="such as results/pydocs/export/star/query_encoder")
    command.add_argument("repository", help="user/name; created if it does not exist")
    command.add_argument("--private", action="store_true", help="only its owner may see a new repository")


def run(given: argparse.Namespace) -> None:
    """Upload it, and print where it is."""
    from hardneg.export.hub import push

    print(push(given.folder, given.repository, private=given.private))
