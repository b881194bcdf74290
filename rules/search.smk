INDEX = stage_rule("index")
RUN = stage_rule("run")
RERANK = stage_rule("rerank")


rule build_index:
    input:
        unpack(INDEX.inputs),
    output:
        manifest=INDEX.manifest,
    log:
        INDEX.log,
    benchmark:
        INDEX.benchmark
    conda:
        ENVIRONMENT
    threads: INDEX.threads
    resources:
        mem_mb=INDEX.mem_mb,
        runtime=INDEX.runtime,
        gpu=INDEX.gpu,
    params:
        record=INDEX.record,
    shell:
        INDEX.shell()


rule search_dense:
    input:
        unpack(RUN.inputs),
    output:
        manifest=RUN.manifest,
    log:
        RUN.log,
    benchmark:
        RUN.benchmark
    conda:
        ENVIRONMENT
    threads: RUN.threads
    resources:
        mem_mb=RUN.mem_mb,
        runtime=RUN.runtime,
        gpu=RUN.gpu,
    params:
        record=RUN.record,
    shell:
        RUN.shell()


rule rerank_run:
    input:
        unpack(RERANK.inputs),
    output:
        manifest=RERANK.manifest,
    log:
        RERANK.log,
    benchmark:
        RERANK.benchmark
    conda:
        ENVIRONMENT
    threads: RERANK.threads
    resources:
        mem_mb=RERANK.mem_mb,
        runtime=RERANK.runtime,
        gpu=RERANK.gpu,
    params:
        record=RERANK.record,
    shell:
        RERANK.shell()
