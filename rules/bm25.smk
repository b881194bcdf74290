BM25_INDEX = stage_rule("bm25_index")
BM25_RUN = stage_rule("bm25_run")


rule index_bm25:
    input:
        unpack(BM25_INDEX.inputs),
    output:
        manifest=BM25_INDEX.manifest,
    log:
        BM25_INDEX.log,
    benchmark:
        BM25_INDEX.benchmark
    conda:
        ENVIRONMENT
    threads: BM25_INDEX.threads
    resources:
        mem_mb=BM25_INDEX.mem_mb,
        runtime=BM25_INDEX.runtime,
        gpu=BM25_INDEX.gpu,
    params:
        record=BM25_INDEX.record,
    shell:
        BM25_INDEX.shell()


rule search_bm25:
    input:
        unpack(BM25_RUN.inputs),
    output:
        manifest=BM25_RUN.manifest,
    log:
        BM25_RUN.log,
    benchmark:
        BM25_RUN.benchmark
    # Two threads, which it would get last of all while others take one; what mines the ranking waits for it.
    priority: 1
    conda:
        ENVIRONMENT
    threads: BM25_RUN.threads
    resources:
        mem_mb=BM25_RUN.mem_mb,
        runtime=BM25_RUN.runtime,
        gpu=BM25_RUN.gpu,
    params:
        record=BM25_RUN.record,
    shell:
        BM25_RUN.shell("--threads {threads}")
