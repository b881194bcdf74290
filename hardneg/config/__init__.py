"""The configuration, validated once at the boundary.

Snakemake merges files and `--config` into one mapping. `load` fills in presets, validates the mapping against the
models in this package, one file a section, and checks that the sections agree. It returns a `Config`, or raises one
`HardnegError` that names every key at fault. Values nested in `--config` arrive as text, so pydantic reads "3" as 3.

Everything here is imported each time Snakemake starts. It must not import torch.
"""

from hardneg.config.analyses import Analyses
from hardneg.config.base import Model, Path
from hardneg.config.collection import (
    BeirCollection,
    Collection,
    FilesCollection,
    FolderCollection,
    HubCollection,
    IrDatasetsCollection,
    MsMarcoDocumentCollection,
    MsMarcoPassageCollection,
    PyDocsCollection,
    Splits,
    SquadCollection,
)
from hardneg.config.config import Config
from hardneg.config.encoder import CrossEncoder, Encoder
from hardneg.config.evaluation import Evaluation
from hardneg.config.generation import Generation
from hardneg.config.index import Bm25, Index
from hardneg.config.load import load, merge, read_yaml
from hardneg.config.runtime import Arithmetic, Runtime
from hardneg.config.system import System, Vectors
from hardneg.config.training import Training

__all__ = [
    "Analyses",
    "Arithmetic",
    "BeirCollection",
    "Bm25",
    "Collection",
    "Config",
    "CrossEncoder",
    "Encoder",
    "Evaluation",
    "FilesCollection",
    "FolderCollection",
    "Generation",
    "HubCollection",
    "Index",
    "IrDatasetsCollection",
    "Model",
    "MsMarcoDocumentCollection",
    "MsMarcoPassageCollection",
    "Path",
    "PyDocsCollection",
    "Runtime",
    "Splits",
    "SquadCollection",
    "System",
    "Training",
    "Vectors",
    "load",
    "merge",
    "read_yaml",
]
