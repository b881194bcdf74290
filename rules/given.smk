GIVEN_RUN = stage_rule("given_run")
GIVEN_VECTORS = stage_rule("given_vectors")
GIVEN_LISTS = stage_rule("given_lists")


rule import_run:
    input:
        unpack(GIVEN_RUN.inputs),
    output:
        manifest=GIVEN_RUN.manifest,
    log:
        GIVEN_RUN.log,
    benchmark:
        GIVEN_RUN.benchmark
    conda:
        ENVIRONMENT
    threads: GIVEN_RUN.threads
    resources:
        mem_mb=GIVEN_RUN.mem_mb,
        runtime=GIVEN_RUN.runtime,
        gpu=GIVEN_RUN.gpu,
    params:
        record=GIVEN_RUN.record,
    shell:
        GIVEN_RUN.shell()


rule import_vectors:
    input:
        unpack(GIVEN_VECTORS.inputs),
    output:
        manifest=GIVEN_VECTORS.manifest,
    log:
        GIVEN_VECTORS.log,
    benchmark:
        GIVEN_VECTORS.benchmark
    conda:
        ENVIRONMENT
    threads: GIVEN_VECTORS.threads
    resources:
        mem_mb=GIVEN_VECTORS.mem_mb,
        runtime=GIVEN_VECTORS.runtime,
        gpu=GIVEN_VECTORS.gpu,
    params:
        record=GIVEN_VECTORS.record,
    shell:
        GIVEN_VECTORS.shell()


rule import_given:
    input:
        unpack(GIVEN_LISTS.inputs),
    output:
        manifest=GIVEN_LISTS.manifest,
    log:
        GIVEN_LISTS.log,
    benchmark:
        GIVEN_LISTS.benchmark
    conda:
        ENVIRONMENT
    threads: GIVEN_LISTS.threads
    resources:
        mem_mb=GIVEN_LISTS.mem_mb,
        runtime=GIVEN_LISTS.runtime,
        gpu=GIVEN_LISTS.gpu,
    params:
        record=GIVEN_LISTS.record,
    shell:
        GIVEN_LISTS.shell()
