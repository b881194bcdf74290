"""The indexes: BM25 for words, FAISS for vectors."""

from __future__ import annotations

from pydantic import Field

from hardneg.config.base import Model
from hardneg.data.languages import Language
from hardneg.data.template import DEFAULT_TEMPLATE


class Bm25(Model):
    """BM25, as implemented in Lucene."""

    passage_template: str = Field(DEFAULT_TEMPLATE, description="how a passage's url, title and text are indexed")

    k1: float = Field(0.9, ge=0)
    b: float = Field(0.4, ge=0, le=1)

    language: Language | None = Field(
        None,
        description="how texts are analysed: a language by its two letters; null: detected when the index is built",
    )


class Index(Model):
    """The FAISS index that serves queries and that ADORE retrieves from."""

    factory: str = Field("Flat", description="a FAISS index factory string, such as PQ32, OPQ16,PQ16, IVF256,PQ32, SQ8")
    train_rows: int = Field(200_000, ge=1, description="vectors sampled to train an index that needs training")
    rows_per_file: int = Field(
        2_000_000,
        ge=1,
        description="vectors per index file; files are built one at a time, and searched so if memory is short",
    )
    nprobe: int | None = Field(None, ge=1, description="IVF: lists probed per query; null: FAISS's default, 1")
    ef_search: int | None = Field(
        None, ge=1, description="HNSW: candidates kept during search; null: FAISS's default, 16"
    )

    @property
    def label(self) -> str:
        """A short name for tables: the factory string and the search settings that are set."""
        searched = {"nprobe": self.nprobe, "efSearch": self.ef_search}
        return ", ".join([self.factory, *(f"{key} {value}" for key, value in searched.items() if value is not None)])
