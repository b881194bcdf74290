"""Model cards: what a system is, how it came about, how good it is, where that ends, and how it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
import pyarrow.parquet as pq
import yaml

from hardneg import __version__
from hardneg.axes import QUESTIONS
from hardneg.data.template import Reading, fields_of
from hardneg.evaluation.measure_names import meaning
from hardneg.evaluation.measures import aggregate
from hardneg.export.encoders import encoder_settings
from hardneg.stages.artifacts import Artifact, StageFolder, atomic_path
from hardneg.text.tokens import TokenStore

METHODS = {
    "bm25": "BM25 through Lucene",
    "dense": "Dense retrieval, by the inner product of a passage's vector and the query's",
    "run": "A ranking that was made elsewhere",
    "vectors": "Dense retrieval with vectors that were made elsewhere",
}

FRONT = """\
---
library_name: sentence-transformers
pipeline_tag: sentence-similarity
tags: [sentence-transformers, dense-retrieval, hard-negatives]
---
"""

ENCODER = """\
{{ front }}
# {{ system }}: {{ texts }} encoder

It turns a {{ texts }} into {{ dim }} numbers; the inner product with those of the {{ other }} encoder is the score. It
reads at most {{ length }} tokens. How texts are made, how it was trained and how good it is: `../README.md`.

```python
from sentence_transformers import SentenceTransformer

vectors = SentenceTransformer("{{ texts }}_encoder"{{ trust }}).encode(["a {{ texts }}"])
```
"""

CARD = """\
{% if encoder %}
{{ front }}
{% endif %}
# {{ system }} on {{ dataset }}

{{ methods[systems[system].retriever] }}.
{% if encoder %}
A text has {{ dim }} numbers: {{ encoder.pooling }} pooling{{ ", a projection with LayerNorm" if encoder.projection }}\
{{ ", length 1" if encoder.normalize }}. Queries and passages have {{ "an encoder each" if apart else "one encoder" }}.
{% endif %}

| here | what |
|---|---|
{% if encoder %}
| `query_encoder/`, `passage_encoder/` | for sentence-transformers and Transformers |
{% endif %}
{% if pyserini %}
| `pyserini/` | the passages' FAISS index ({{ index.factory }}) and their ids, for Pyserini |
{% endif %}
| `runs/` | TREC runs, with a header on how they were made (ir-metadata.org) |
| `runs/plain/` | the same without the header, for trec_eval before 10 and pytrec_eval |
{% if encoder %}

## Loading

The text of a passage is made of {{ fields | join(" and ") }}. A query is taken as it is.\
{{ " The tokenizer lower-cases both." if reading.lower_case }}

```python
def passage_text({{ fields | join(", ") }}):
    text = {{ template }}.format({% for name in fields %}{{ name }}={{ name }}, {% endfor %}sep={{ separator }})
    return text.strip(){{ "[:%d]" % reading.characters if reading.characters }}
```

With sentence-transformers:

```python
from sentence_transformers import SentenceTransformer

query_encoder = SentenceTransformer("query_encoder"{{ trust }})
passage_encoder = SentenceTransformer("passage_encoder"{{ trust }})
queries = query_encoder.encode(["a question", "another one"])
passages = passage_encoder.encode(["a passage", "another one"])
scores = query_encoder.similarity(queries, passages)  # inner products
```

With Transformers, the query encoder for instance (a pooler that is reported as new is not used):

```python
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("query_encoder"{{ trust }})
model = AutoModel.from_pretrained("query_encoder"{{ trust }}).eval()
tokens = tokenizer(["a question", "another one"], padding=True, truncation=True, return_tensors="pt")
with torch.inference_mode():
    vectors = model(**tokens).last_hidden_state
{% if encoder.pooling == "cls" %}
vectors = vectors[:, 0]
{% else %}
mask = tokens["attention_mask"].unsqueeze(-1)
vectors = (vectors * mask).sum(1) / mask.sum(1)
{% endif %}
{% if encoder.projection %}
from safetensors.torch import load_file

dense, norm = (load_file(f"query_encoder/{part}/model.safetensors") for part in ("2_Dense", "3_LayerNorm"))
vectors = torch.nn.functional.linear(vectors, dense["linear.weight"], dense["linear.bias"])
vectors = torch.nn.functional.layer_norm(vectors, vectors.shape[-1:], norm["norm.weight"], norm["norm.bias"])
{% endif %}
{% if encoder.normalize %}
vectors = torch.nn.functional.normalize(vectors, dim=-1)
{% endif %}
```
{% endif %}
{% if encoder and pyserini %}

With Pyserini, which needs Java 21, and an `OPENAI_API_KEY` of any content to be imported:

```python
from pyserini.search.faiss import FaissSearcher
from sentence_transformers import SentenceTransformer

searcher = FaissSearcher("pyserini", SentenceTransformer("query_encoder"{{ trust }}))
hits = [(hit.docid, hit.score) for hit in searcher.search("a question", k=10)]
```
{% elif pyserini %}

Pyserini's `FaissSearcher("pyserini", None)` searches it with vectors of queries, float32 [1, width].
{% endif %}
{% if index and not pyserini %}

There is no folder for Pyserini, which opens one file: the index has {{ index.files }}, and FAISS cannot join those of
{{ index.factory }}. With a larger `rows_per_file` it has one.
{% endif %}

## How it was made

The system comes first, then those that it starts from or mines.

{% for name, made in systems.items() %}
### {{ name }}

- {{ methods[made.retriever] }}
- trains: {{ made.trains | replace("_", " ") }}
- starts from: {{ made["from"] or "no other system" }}
{% if made.trains != "nothing" %}

| question | answer |
|---|---|
{% for question, text in questions.items() %}
| {{ text }} | {{ question }}: {{ made[question] | words }} |
{% endfor %}

```yaml
{{ made.train | yaml }}
```
{% endif %}

{% endfor %}
{% if encoder %}
The training data of the query encoder: {{ trained.dataset }}, split {{ trained.split }}. Its seed: {{ trained.seed }}.

The encoder:

```yaml
{{ encoder | yaml }}
```

{% endif %}
{% if searched %}
The search:

```yaml
{{ searched | yaml }}
```

{% endif %}
## Data

{{ dataset }} has {{ collection | counts }}{{ ", which are windows of its documents" if windows }}.

| split | |
|---|---|
{% for split, held in splits.items() %}
| {{ split }} | {{ held | counts }} |
{% endfor %}

```yaml
{{ origin | yaml }}
```

## Scores

Means over the queries with a judgement. Relevant is what has at least the grade given here.\
{{ " A document stands where its best passage does." if windows }}

| split | queries | grade | {{ measures | join(" | ") }} |
|---|---|---|{{ "---|" * measures | length }}
{% for row in scores %}
| {{ row | join(" | ") }} |
{% endfor %}

{% for name in measures %}
- {{ name }}: {{ meanings[name] }}
{% endfor %}

## Limits

{% if encoder %}
- One seed. Another one gives other scores, and a difference within that spread says nothing.
{% endif %}
- Measured on {{ dataset }} alone: in its language, on its kind of text, among so many passages.
- A passage that nobody judged counts as not relevant: what is found beside the judged ones is held against it.
{% for text, cut in cuts.items() %}
- {{ text }} are cut at {{ cut.length }} tokens, special ones included: {{ cut.share }} % reach that length, and what \
they say beyond it is not read.
{% endfor %}
{% if encoder %}
- The vectors of the runs were computed in precision {{ vectors.precision }} (auto: fp32 on a CPU, bf16 on a GPU), \
passages' kept as {{ vectors.dtype }}; what is loaded here computes in float32.
{% endif %}
{% if index and index.factory != "Flat" %}
- The index ({{ index.factory }}) is approximate: other scores than those of the vectors, and passages not found.
{% endif %}

## Versions

{% for name, number in versions.items() %}
- {{ name }} {{ number }}
{% endfor %}
"""


def write_cards(stage: StageFolder, reading: Reading | None, pyserini: bool, searched: Mapping[str, Any]) -> None:
    """Write `README.md`, and one into each encoder's folder; where there is no encoder, these are left out.

    Args:
        stage: the export stage, its other files written.
        reading: how texts are read, where there is an encoder.
        pyserini: whether there is a folder for Pyserini.
        searched: the settings that the runs were made with.
    """
    settings, parents, collection = stage.settings, stage.parents, stage.parents["collection"].facts
    known: dict[str, Any] = {
        "front": FRONT,
        "system": settings["system"],
        "dataset": stage.record["dataset"],
        "methods": METHODS,
        "searched": searched,
        "encoder": None,
        "cuts": {},
        "pyserini": pyserini,
        "index": _index(parents),
        "questions": {question: text for question, (text, _) in QUESTIONS.items()},
        "collection": {name: count for name, count in collection.items() if name in ("passages", "documents")},
        "windows": "documents" in collection,
        "splits": collection["splits"],
        "systems": _nearest_first(settings["system"], settings["about"]["systems"]),
        "origin": {"format": settings["about"]["format"], **parents["collection"].settings},
        "measures": settings["measures"],
        "meanings": {name: meaning(name) for name in settings["measures"]},
        "scores": [_scores(parents["measure"], split, settings["measures"]) for split in settings["splits"]],
        "versions": {"hardneg": __version__, **parents.get("model", parents["measure"]).manifest["libraries"]},
    }
    if reading is not None:
        known |= _of_encoder(stage, reading)
    files: dict[str, tuple[str, dict[str, Any]]] = {"README.md": (CARD, {})}
    if reading is not None:
        facts = parents["tokens"].facts
        for texts, other in (("query", "passage"), ("passage", "query")):
            more = {"texts": texts, "other": other, "length": facts[f"{texts}_length"]}
            files[f"{texts}_encoder/README.md"] = (ENCODER, more)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"yaml": _yaml, "counts": _counts, "words": _words}
    for name, (template, more) in files.items():
        text = environment.from_string(template).render(known | more)
        with atomic_path(stage.folder / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def _of_encoder(stage: StageFolder, reading: Reading) -> dict[str, Any]:
    parents, model = stage.parents, stage.parents["model"]
    encoder, tokens = encoder_settings(model), parents["tokens"]
    return {
        "encoder": encoder,
        "dim": model.facts["dim"],
        "apart": model.folder != parents["passage_model"].folder,
        "vectors": parents["passages"].settings,
        "trust": ", trust_remote_code=True" if encoder.get("trust_remote_code") else "",
        "reading": reading,
        "fields": fields_of(reading.passage_template),
        "template": repr(reading.passage_template),
        "separator": repr(reading.separator),
        "trained": {"dataset": model.manifest["dataset"], **model.settings},
        "cuts": {
            "Passages": _cut(TokenStore(tokens, "passages")),
            **{
                f"Queries of {split}": _cut(TokenStore(tokens, f"queries.{split}"))
                for split in stage.settings["splits"]
            },
        },
    }


def _cut(store: TokenStore) -> dict[str, Any]:
    full = store.lengths(np.arange(len(store))) == store.longest
    return {"length": store.longest, "share": f"{100 * full.mean():.1f}"}


def _index(parents: Mapping[str, Artifact]) -> dict[str, Any] | None:
    if "passages" not in parents:
        return None
    if "index" not in parents:
        return {"factory": "Flat", "files": 1}
    return {"factory": parents["index"].settings["factory"], "files": len(parents["index"].facts["files"])}


def _scores(measure: Artifact, split: str, measures: list[str]) -> list[str]:
    """A row of the table of scores."""
    per_query = pq.read_table(measure.path(f"measures.{split}.parquet")).to_pandas()
    means = aggregate(per_query).set_index("measure")["value"]
    queries, grade = per_query["query_id"].nunique(), measure.settings["relevant_grade"][split]
    return [split, f"{queries:,}", str(grade), *(f"{means[name]:.4f}" for name in measures)]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()


def _words(answer: Mapping[str, Any]) -> str:
    """An answer as `name (setting value, ...)`."""
    settings = ", ".join(f"{key} {value}" for key, value in answer.items() if key != "name" and value is not None)
    return f"{answer['name']} ({settings})" if settings else str(answer["name"])


def _nearest_first(name: str, systems: Mapping[str, Any]) -> dict[str, Any]:
    """A system's answers, then those of what it starts from and mines, and so on; settings come in no such order."""
    found = {name: systems[name]}
    for other in (systems[name]["from"], systems[name]["source"].get("system")):
        if other in systems:
            found |= {further: made for further, made in _nearest_first(other, systems).items() if further not in found}
    return found
