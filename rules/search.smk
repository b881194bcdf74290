INDEX = StageRule("index")
RUN = StageRule("run")


rule build_index:
    input:
        passages=INDEX.parent("passages"),
    output:
        manifest=INDEX.manifest,
    params:
        record=INDEX.record,
    log:
        f"{INDEX.log}.log",
    benchmark:
        f"{INDEX.log}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=0,
    conda:
        ENVIRONMENT
    shell:
        command("build_index", "passages")


rule search_dense:
    input:
        passages=RUN.parent("passages"),
        index=RUN.parent("index"),
        queries=RUN.parent("queries"),
    output:
        manifest=RUN.manifest,
    params:
        record=RUN.record,
    log:
        f"{RUN.log}.log",
    benchmark:
        f"{RUN.log}.tsv"
    threads: ENCODING_THREADS
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=SEARCH_GPUS,
    conda:
        ENVIRONMENT
    shell:
        command("search_dense", "passages", "index", "queries")
