"""Model cards: description, loading, training, data, scores and limitations of a system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jinja2
import numpy as np
import pyarrow.parquet as pq
import yaml

from hardneg import __version__
from hardneg.data.template import Reading, fields_of, prompt_of, prompted
from hardneg.evaluation.measure_names import meaning
from hardneg.evaluation.measures import aggregate
from hardneg.export.encoders import encoder_settings, prompts_of
from hardneg.methods.axes import AXES
from hardneg.model.untied import passage_side
from hardneg.stages.artifacts import Artifact, StageFolder, atomic_path
from hardneg.text.tokens import TokenStore

OWN_HEAD = [{"type": "Dense", "activation": "Identity"}, {"type": "LayerNorm"}]
"""The layers of a projection, as those that a backbone comes with are described."""

METHODS = {
    "bm25": "BM25 through Lucene",
    "dense": "Dense retrieval by the inner product of query and passage vectors",
    "rerank": "A cross-encoder or a late interaction that reorders another ranking",
    "deepct": "BM25 through Lucene on learned term weights",
    "letor": "LambdaMART over features of words, which reorders another ranking",
    "run": "A ranking computed elsewhere",
    "vectors": "Dense retrieval with vectors computed elsewhere",
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

Maps a {{ texts }} to a vector of {{ dim }} dimensions. The score is the inner product with a {{ other }} vector.
Texts are truncated at {{ length }} tokens. See `../README.md` for input format, training and scores.

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
Vectors have {{ dim }} dimensions: {{ encoder.pooling }} pooling\
{{ ", a projection with LayerNorm" if encoder.projection }}{{ ", unit length" if encoder.normalize }}.
Queries and passages {{ "have separate encoders" if apart else "share one encoder" }}.
{% endif %}

| path | content |
|---|---|
{% if encoder %}
| `query_encoder/`, `passage_encoder/` | encoders for sentence-transformers and Transformers |
{% endif %}
{% if pyserini %}
| `pyserini/` | FAISS index of the passages ({{ index.factory }}) and passage ids, for Pyserini |
{% endif %}
| `runs/` | TREC runs with an ir-metadata.org header |
| `runs/plain/` | the same runs without the header, for pytrec_eval and trec_eval before version 10 |
{% if encoder %}

## Loading

A passage's text consists of {{ fields | join(" and ") }}. \
A query is {{ "used as it is" if asked == "{text}" else "read as `" ~ asked ~ "`" }}.\
{% if prompts %}
 Before a query stands {{ prompts.query | quoted }}, before a passage {{ prompts.document | quoted }}: \
sentence-transformers adds them, elsewhere they are yours to add.\
{% endif %}
{{ " The tokenizer lower-cases both." if reading.lower_case }}

```python
def passage_text({{ fields | join(", ") }}):
    text = {{ template }}.format({% for name in fields %}{{ name }}={{ name }}, {% endfor %}sep={{ separator }})
    return text.strip(){{ "[:%d]" % characters if characters }}
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

With Transformers, for instance the query encoder (ignore a warning about a newly initialized pooler):

```python
import torch
from transformers import AutoModel, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("query_encoder"{{ trust }})
model = AutoModel.from_pretrained("query_encoder"{{ trust }}).eval()
texts = [{{ (before ~ "a question") | quoted }}, {{ (before ~ "another one") | quoted }}]
tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
with torch.inference_mode():
    vectors = model(**tokens).last_hidden_state
{% if encoder.pooling == "cls" %}
vectors = vectors[:, 0]
{% elif encoder.pooling == "last_token" %}
vectors = vectors[torch.arange(len(vectors)), tokens["attention_mask"].sum(1) - 1]
{% else %}
mask = tokens["attention_mask"].unsqueeze(-1)
{% if encoder.pooling == "weighted_mean" %}
mask = mask * mask.cumsum(1)
{% endif %}
vectors = (vectors * mask).sum(1) / mask.sum(1)
{% endif %}
{% for layer in layers %}
{% if loop.first %}
from safetensors.torch import load_file

{% endif %}
part = load_file("query_encoder/{{ loop.index + 1 }}_{{ layer.type }}/model.safetensors")
{% if layer.type == "Dense" %}
vectors = torch.nn.functional.linear(vectors, part["linear.weight"], part.get("linear.bias"))
{% if layer.activation != "Identity" %}
vectors = torch.nn.{{ layer.activation }}()(vectors)
{% endif %}
{% else %}
vectors = torch.nn.functional.layer_norm(vectors, vectors.shape[-1:], part["norm.weight"], part["norm.bias"])
{% endif %}
{% endfor %}
{% if encoder.normalize %}
vectors = torch.nn.functional.normalize(vectors, dim=-1)
{% endif %}
```
{% endif %}
{% if encoder and pyserini %}

With Pyserini, which needs Java 21, and any value in `OPENAI_API_KEY` to be imported:

```python
from pyserini.search.faiss import FaissSearcher
from sentence_transformers import SentenceTransformer

searcher = FaissSearcher("pyserini", SentenceTransformer("query_encoder"{{ trust }}))
hits = [(hit.docid, hit.score) for hit in searcher.search("a question", k=10)]
```
{% elif pyserini %}

Pyserini's `FaissSearcher("pyserini", None)` searches it with query vectors, float32 [1, width].
{% endif %}
{% if index and not pyserini %}

There is no folder for Pyserini, because it opens a single file. The index has {{ index.files }} files, and FAISS cannot
merge files of {{ index.factory }}. A larger `rows_per_file` gives one file.
{% endif %}

## Training

This system first, then the systems that it starts from or mines.

{% for name, answers in systems.items() %}
### {{ name }}

- {{ methods[answers.retriever] }}
- trains: {{ answers.trains | replace("_", " ") }}
- starts from: {{ answers["from"] or "no other system" }}
{% if answers.trains != "nothing" %}

| question | answer |
|---|---|
{% for question, text in questions.items() %}
| {{ text }} | {{ question }}: {{ answers[question] | words }} |
{% endfor %}

```yaml
{{ answers.train | yaml }}
```
{% endif %}

{% endfor %}
{% if encoder %}
{% if trained.split is not defined %}
The query encoder was not trained here: it is the backbone as it is.
{% else %}
The query encoder was trained on {{ trained.dataset }}, split {{ trained.split }}, with seed {{ trained.seed }}.
{% endif %}

Encoder settings:

```yaml
{{ encoder | yaml }}
```

{% if passage_encoder != encoder %}
Settings of the passage encoder:

```yaml
{{ passage_encoder | yaml }}
```

{% endif %}
{% endif %}
{% if searched %}
Search settings:

```yaml
{{ searched | yaml }}
```

{% endif %}
## Data

{{ dataset }} has {{ collection | counts }}{{ "; passages are windows of documents" if windows }}.

| split | |
|---|---|
{% for split, held in splits.items() %}
| {{ split }} | {{ held | counts }} |
{% endfor %}

```yaml
{{ origin | yaml }}
```

## Scores

Means over the judged queries. The column `grade` is the lowest grade that counts as relevant.\
{{ " A document takes the rank of its best passage." if windows }}

| split | queries | grade | {{ measures | join(" | ") }} |
|---|---|---|{{ "---|" * measures | length }}
{% for row in scores %}
| {{ row | join(" | ") }} |
{% endfor %}

{% for name in measures %}
- {{ name }}: {{ meanings[name] }}
{% endfor %}

## Limitations

{% if encoder %}
- Trained with a single seed. Scores vary across seeds, and differences within that variation are not meaningful.
{% endif %}
- Evaluated only on {{ dataset }}. Other languages, domains and collection sizes may give other results.
- Unjudged passages count as not relevant, so relevant but unjudged passages lower the scores.
{% for text, cut in cuts.items() %}
- {{ text }} are truncated at {{ cut.length }} tokens, special tokens included. {{ cut.share }}% reach that length.
{% endfor %}
{% if encoder %}
- The vectors of the runs were computed in precision {{ vectors.precision }} (auto: fp32 on a CPU, fp16 on a GPU), and \
passage vectors were stored as {{ vectors.dtype }}. The exported encoders compute in float32.
{% endif %}
{% if index and index.factory != "Flat" %}
- The index ({{ index.factory }}) is approximate. Scores differ from exact inner products, and passages may be missed.
{% endif %}

## Versions

{% for name, number in versions.items() %}
- {{ name }} {{ number }}
{% endfor %}
"""


def write_cards(stage: StageFolder, reading: Reading | None, pyserini: bool, searched: Mapping[str, Any]) -> None:
    """Write `README.md`, and another one into the folder of each encoder, if there are encoders.

    Args:
        stage: the export stage, with all other files already written.
        reading: how texts are prepared, or None without an encoder.
        pyserini: whether the folder for Pyserini exists.
        searched: the search settings of the runs.
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
        "questions": {key: axis.question for key, axis in AXES.items()},
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
    environment.filters |= {"quoted": json.dumps, "yaml": _yaml, "counts": _counts, "words": _words}
    for name, (template, more) in files.items():
        text = environment.from_string(template).render(known | more)
        with atomic_path(stage.folder / name) as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")


def _of_encoder(stage: StageFolder, reading: Reading) -> dict[str, Any]:
    parents, model = stage.parents, stage.parents["model"]
    encoder, tokens = encoder_settings(model), parents["tokens"]
    passages = passage_side(parents["passage_model"])
    return {
        "encoder": encoder,
        "dim": model.facts["dim"],
        "apart": model.folder != passages.folder,
        "passage_encoder": encoder_settings(passages),
        "vectors": parents["passages"].settings,
        "trust": ", trust_remote_code=True" if encoder.get("trust_remote_code") else "",
        "reading": reading,
        "fields": fields_of(reading.passage_template),
        "template": repr(_after_prompt(reading.passage_template)),
        "characters": reading.characters and reading.characters - len(prompt_of(reading.passage_template)),
        "asked": _after_prompt(reading.query_template),
        "prompts": prompts_of(reading),
        "before": prompts_of(reading).get("query", ""),
        "layers": [*(encoder.get("modules") or []), *(OWN_HEAD if encoder["projection"] else [])],
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


def _after_prompt(template: str) -> str:
    """A template without what stands before its first field."""
    prompt = prompted(prompt_of(template), "")
    return template.removeprefix(prompt)


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
    """A row of the score table."""
    per_query = pq.read_table(measure.path(f"measures.{split}.parquet")).to_pandas()
    means = aggregate(per_query).set_index("measure")["value"]
    queries, grade = per_query["query_id"].nunique(), measure.settings["relevant_grade"][split]
    return [split, f"{queries:,}", str(grade), *(f"{means[name]:.4f}" for name in measures)]


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).rstrip()


def _words(answer: Mapping[str, Any] | list[Mapping[str, Any]] | None) -> str:
    """An answer formatted as `name (setting value, ...)`; several of them joined by a plus sign."""
    if answer is None:
        return "none"
    if isinstance(answer, list):
        return " + ".join(map(_words, answer)) or "none"
    told = {key: value for key, value in answer.items() if key != "name" and value is not None}
    if told.get("weight") == 1:  # its share among several
        del told["weight"]
    settings = ", ".join(f"{key} {value}" for key, value in told.items())
    return f"{answer['name']} ({settings})" if settings else str(answer["name"])


def _nearest_first(name: str, systems: Mapping[str, Any]) -> dict[str, Any]:
    """The answers of a system, then those of the systems it starts from and mines, recursively."""
    found = {name: systems[name]}
    for other in (systems[name]["from"], *(source.get("system") for source in systems[name]["source"])):
        if other in systems:
            found |= {
                further: answers for further, answers in _nearest_first(other, systems).items() if further not in found
            }
    return found
