MINE = StageRule(PLAN, "mine")
TRAIN = StageRule(PLAN, "train")


rule mine_negatives:
    input:
        collection=MINE.parent("collection"),
        run=MINE.parent("run"),
    output:
        manifest=MINE.manifest,
    log:
        f"{MINE.log}.log",
    benchmark:
        f"{MINE.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        record=MINE.record,
    shell:
        command("mine_negatives", "collection", "run")


rule train_dual_encoder:
    input:
        collection=TRAIN.parent("collection"),
        tokenizer=TRAIN.parent("tokenizer"),
        tokens=TRAIN.parent("tokens"),
        negatives=TRAIN.parent("negatives"),
        init=TRAIN.parent("init"),
        continues=TRAIN.parent("continues"),
    output:
        manifest=TRAIN.manifest,
    log:
        f"{TRAIN.log}.log",
    benchmark:
        f"{TRAIN.log}.tsv"
    conda:
        ENVIRONMENT
    threads: TRAINING_THREADS
    resources:
        mem_mb=8000,
        runtime=2880,
        gpu=1,
    params:
        record=TRAIN.record,
    shell:
        command("train_dual_encoder", "collection", "tokenizer", "tokens", "negatives", "init", "continues")
