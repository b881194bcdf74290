COLLECTION = StageRule(PLAN, "collection")
TOKENIZER = StageRule(PLAN, "tokenizer")
TOKENS = StageRule(PLAN, "tokens")


rule prepare_collection:
    output:
        manifest=COLLECTION.manifest,
    log:
        f"{COLLECTION.log}.log",
    benchmark:
        f"{COLLECTION.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        record=COLLECTION.record,
    shell:
        command("prepare_collection", more="--threads {threads}")


rule make_tokenizer:
    input:
        collection=TOKENIZER.parent("collection"),
    output:
        manifest=TOKENIZER.manifest,
    log:
        f"{TOKENIZER.log}.log",
    benchmark:
        f"{TOKENIZER.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        record=TOKENIZER.record,
    shell:
        command("make_tokenizer", "collection")


rule tokenize_texts:
    input:
        collection=TOKENS.parent("collection"),
        tokenizer=TOKENS.parent("tokenizer"),
    output:
        manifest=TOKENS.manifest,
    log:
        f"{TOKENS.log}.log",
    benchmark:
        f"{TOKENS.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 2
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=0,
    params:
        record=TOKENS.record,
    shell:
        command("tokenize_texts", "collection", "tokenizer")
