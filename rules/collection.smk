DOWNLOAD = StageRule(PLAN, "download")
COLLECTION = StageRule(PLAN, "collection")
TOKENIZER = StageRule(PLAN, "tokenizer")
TOKENS = StageRule(PLAN, "tokens")


rule download_collection:
    output:
        manifest=DOWNLOAD.manifest,
    log:
        f"{DOWNLOAD.log}.log",
    benchmark:
        f"{DOWNLOAD.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=720,
        gpu=0,
    params:
        record=DOWNLOAD.record,
    shell:
        command("download_collection")


rule prepare_collection:
    input:
        files=COLLECTION.parent("files"),
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
        command("prepare_collection", "files", more="--threads {threads}")


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
