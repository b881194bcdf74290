BM25_INDEX = StageRule("bm25_index")
BM25_RUN = StageRule("bm25_run")


rule index_bm25:
    input:
        collection=BM25_INDEX.parent("collection"),
    output:
        manifest=BM25_INDEX.manifest,
    params:
        record=BM25_INDEX.record,
    log:
        f"{BM25_INDEX.log}.log",
    benchmark:
        f"{BM25_INDEX.log}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=0,
    conda:
        ENVIRONMENT
    shell:
        command("index_bm25", "collection")


rule search_bm25:
    input:
        collection=BM25_RUN.parent("collection"),
        index=BM25_RUN.parent("index"),
    output:
        manifest=BM25_RUN.manifest,
    params:
        record=BM25_RUN.record,
    log:
        f"{BM25_RUN.log}.log",
    benchmark:
        f"{BM25_RUN.log}.tsv"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0,
    conda:
        ENVIRONMENT
    shell:
        command("search_bm25", "collection", "index", more="--threads {threads}")
