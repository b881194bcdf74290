BM25_INDEX = StageRule(PLAN, "bm25_index")
BM25_RUN = StageRule(PLAN, "bm25_run")


rule index_bm25:
    input:
        collection=BM25_INDEX.parent("collection"),
    output:
        manifest=BM25_INDEX.manifest,
    log:
        f"{BM25_INDEX.log}.log",
    benchmark:
        f"{BM25_INDEX.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=JAVA_MB,
        runtime=120,
        gpu=0,
    params:
        record=BM25_INDEX.record,
    shell:
        command("index_bm25", "collection")


rule search_bm25:
    input:
        collection=BM25_RUN.parent("collection"),
        index=BM25_RUN.parent("index"),
    output:
        manifest=BM25_RUN.manifest,
    log:
        f"{BM25_RUN.log}.log",
    benchmark:
        f"{BM25_RUN.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=JAVA_MB,
        runtime=240,
        gpu=0,
    params:
        record=BM25_RUN.record,
    shell:
        command("search_bm25", "collection", "index", more="--threads {threads}")
