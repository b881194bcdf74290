INDEX = StageRule(PLAN, "index")
RUN = StageRule(PLAN, "run")


rule build_index:
    input:
        passages=INDEX.parent("passages"),
    output:
        manifest=INDEX.manifest,
    log:
        f"{INDEX.log}.log",
    benchmark:
        f"{INDEX.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0,
    params:
        record=INDEX.record,
    shell:
        command("build_index", "passages")


rule search_dense:
    input:
        passages=RUN.parent("passages"),
        index=RUN.parent("index"),
        queries=RUN.parent("queries"),
    output:
        manifest=RUN.manifest,
    log:
        f"{RUN.log}.log",
    benchmark:
        f"{RUN.log}.tsv"
    conda:
        ENVIRONMENT
    threads: ENCODING_THREADS
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=SEARCH_GPUS,
    params:
        record=RUN.record,
    shell:
        command("search_dense", "passages", "index", "queries")
