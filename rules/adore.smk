ADORE = StageRule(PLAN, "adore")


rule train_query_encoder:
    input:
        collection=ADORE.parent("collection"),
        tokens=ADORE.parent("tokens"),
        init=ADORE.parent("init"),
        passages=ADORE.parent("passages"),
        index=ADORE.parent("index"),
        negatives=ADORE.parent("negatives"),
        continues=ADORE.parent("continues"),
    output:
        manifest=ADORE.manifest,
    log:
        f"{ADORE.log}.log",
    benchmark:
        f"{ADORE.log}.tsv"
    conda:
        ENVIRONMENT
    threads: TRAINING_THREADS
    resources:
        mem_mb=8000,
        runtime=1440,
        gpu=SEARCH_GPUS,
    params:
        record=ADORE.record,
    shell:
        command("train_query_encoder", "collection", "tokens", "init", "passages", "index", "negatives", "continues")
