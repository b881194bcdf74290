COLLECTION = StageRule("collection")
TOKENIZER = StageRule("tokenizer")
TOKENS = StageRule("tokens")


rule prepare_collection:
    output:
        manifest=COLLECTION.manifest,
    params:
        record=COLLECTION.record,
    log:
        f"{COLLECTION.log}.log",
    benchmark:
        f"{COLLECTION.log}.tsv"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    conda:
        ENVIRONMENT
    shell:
        command("prepare_collection", more="--threads {threads}")


rule make_tokenizer:
    input:
        collection=TOKENIZER.parent("collection"),
    output:
        manifest=TOKENIZER.manifest,
    params:
        record=TOKENIZER.record,
    log:
        f"{TOKENIZER.log}.log",
    benchmark:
        f"{TOKENIZER.log}.tsv"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    conda:
        ENVIRONMENT
    shell:
        command("make_tokenizer", "collection")


rule tokenize_texts:
    input:
        collection=TOKENS.parent("collection"),
        tokenizer=TOKENS.parent("tokenizer"),
    output:
        manifest=TOKENS.manifest,
    params:
        record=TOKENS.record,
    log:
        f"{TOKENS.log}.log",
    benchmark:
        f"{TOKENS.log}.tsv"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=120,
        gpu=0,
    conda:
        ENVIRONMENT
    shell:
        command("tokenize_texts", "collection", "tokenizer")
