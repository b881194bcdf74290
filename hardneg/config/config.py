"""The whole configuration."""

from __future__ import annotations

from pydantic import Field

from hardneg.config.analyses import Analyses
from hardneg.config.base import Model, Path
from hardneg.config.collection import Collection, JoinedCollection, Splits
from hardneg.config.elsewhere import EvaluatedOn
from hardneg.config.encoder import CrossEncoder, Encoder, LateInteraction
from hardneg.config.evaluation import Evaluation
from hardneg.config.export import Exported, NegativesExport
from hardneg.config.generation import Generation
from hardneg.config.index import Bm25, Index
from hardneg.config.lexical import Deepct, Letor
from hardneg.config.runtime import Arithmetic, Runtime
from hardneg.config.system import System


class Config(Model):
    """A whole configuration: everything that a run of the workflow needs."""

    collection: Collection
    studies: dict[str, Path] = Field({}, description="by name, other configurations whose systems this one uses")
    splits: Splits = Field(default_factory=Splits)
    seed: int = Field(13, ge=0, description="random seed of the training stages; no other stage uses it")
    encoder: Encoder = Field(default_factory=Encoder)
    cross_encoder: CrossEncoder = Field(default_factory=CrossEncoder)
    late_interaction: LateInteraction = Field(default_factory=LateInteraction)
    generation: Generation | None = Field(None, description="for source generated: what a language model writes")
    bm25: Bm25 = Field(default_factory=Bm25)
    letor: Letor = Field(default_factory=Letor)
    deepct: Deepct = Field(default_factory=Deepct)
    index: Index = Field(default_factory=Index)
    systems: dict[str, System] = Field(min_length=1)
    evaluation: Evaluation = Field(default_factory=Evaluation)
    evaluate_on: tuple[EvaluatedOn, ...] = Field(
        (),
        exclude_if=lambda given: not given,
        description="collections that all systems are also evaluated on as they are, with the mean over them",
    )
    analyses: Analyses = Field(default_factory=Analyses)
    export: tuple[Exported, ...] = Field(
        (),
        description="what to write in the formats of other tools: systems by name, and `{negatives: NAME, count: 8}` "
        "for the mined negatives of one",
    )
    arithmetic: Arithmetic = Field(default_factory=Arithmetic)
    runtime: Runtime = Field(default_factory=Runtime)

    @property
    def provides(self) -> frozenset[str]:
        """What it gives to the answers of its systems; see `hardneg.methods.base.NEEDS`."""
        written = frozenset({"written"}) if self.generation is not None else frozenset[str]()
        parts = self.collection.parts if isinstance(self.collection, JoinedCollection) else ()
        return self.collection.provides.union(written, *(part.provides for part in parts))

    def indexes(self) -> dict[str, Index]:
        """Every index that the configuration sets, by its key: `index`, `systems.<name>.index`."""
        own = {f"systems.{name}.index": system.index for name, system in self.systems.items() if system.index}
        return {"index": self.index, **own}

    @property
    def exported(self) -> tuple[str, ...]:
        """The systems to export."""
        return tuple(entry for entry in self.export if isinstance(entry, str))

    @property
    def exported_negatives(self) -> tuple[NegativesExport, ...]:
        """The mined negatives to export."""
        return tuple(entry for entry in self.export if isinstance(entry, NegativesExport))

    def index_of(self, system: str) -> Index:
        """The index that serves a system: its own, or else the top-level one."""
        return self.systems[system].index or self.index

    @property
    def analysed_split(self) -> str:
        """The split that analyses look at: `analyses.split`, or else dev, or else the first that is evaluated."""
        evaluated = self.splits.evaluate
        return self.analyses.split or ("dev" if "dev" in evaluated else evaluated[0])
