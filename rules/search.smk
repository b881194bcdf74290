INDEX = stage_rule("index")
RUN = stage_rule("run")
RERANK = stage_rule("rerank")
LETOR = stage_rule("letor")
LETOR_RUN = stage_rule("letor_run")


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


rule train_letor:
    input:
        unpack(LETOR.inputs),
    output:
        manifest=LETOR.manifest,
    log:
        LETOR.log,
    benchmark:
        LETOR.benchmark
    conda:
        ENVIRONMENT
    threads: LETOR.threads
    resources:
        mem_mb=LETOR.mem_mb,
        runtime=LETOR.runtime,
        gpu=LETOR.gpu,
    params:
        record=LETOR.record,
    shell:
        LETOR.shell()


rule rank_letor:
    input:
        unpack(LETOR_RUN.inputs),
    output:
        manifest=LETOR_RUN.manifest,
    log:
        LETOR_RUN.log,
    benchmark:
        LETOR_RUN.benchmark
    conda:
        ENVIRONMENT
    threads: LETOR_RUN.threads
    resources:
        mem_mb=LETOR_RUN.mem_mb,
        runtime=LETOR_RUN.runtime,
        gpu=LETOR_RUN.gpu,
    params:
        record=LETOR_RUN.record,
    shell:
        LETOR_RUN.shell()
