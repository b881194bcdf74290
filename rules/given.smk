GIVEN_RUN = StageRule(PLAN, "given_run")
GIVEN_VECTORS = StageRule(PLAN, "given_vectors")


rule import_run:
    input:
        collection=GIVEN_RUN.parent("collection"),
    output:
        manifest=GIVEN_RUN.manifest,
    log:
        f"{GIVEN_RUN.log}.log",
    benchmark:
        f"{GIVEN_RUN.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        record=GIVEN_RUN.record,
    shell:
        command("import_run", "collection")


rule import_vectors:
    input:
        collection=GIVEN_VECTORS.parent("collection"),
    output:
        manifest=GIVEN_VECTORS.manifest,
    log:
        f"{GIVEN_VECTORS.log}.log",
    benchmark:
        f"{GIVEN_VECTORS.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=0,
    params:
        record=GIVEN_VECTORS.record,
    shell:
        command("import_vectors", "collection")
