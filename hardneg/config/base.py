"""What every section shares: the base model and the types of fields."""

from __future__ import annotations

from pathlib import Path as AnyPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

FOLDER_NAME = r"^\w[\w.-]*$"

FolderName = Annotated[
    str,
    Field(
        pattern=FOLDER_NAME,
        description="names the folders under artifacts/ and results/: letters, digits, dots, hyphens and underscores",
    ),
]


def _expand_home(path: AnyPath) -> AnyPath:
    try:
        return path.expanduser()
    except RuntimeError as fault:
        raise ValueError(str(fault)) from None


Path = Annotated[AnyPath, AfterValidator(_expand_home)]
"""A path on this machine. Relative paths start at the folder where snakemake runs; ~ is the user's home folder."""


class Model(BaseModel):
    """A section of the configuration. Unknown keys are refused, and values cannot be changed after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
