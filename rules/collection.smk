DOWNLOAD = stage_rule("download")
COLLECTION = stage_rule("collection")
TOKENIZER = stage_rule("tokenizer")
TOKENS = stage_rule("tokens")


rule download_collection:
    input:
        unpack(DOWNLOAD.inputs),
    output:
        manifest=DOWNLOAD.manifest,
    log:
        DOWNLOAD.log,
    benchmark:
        DOWNLOAD.benchmark
    conda:
        ENVIRONMENT
    threads: DOWNLOAD.threads
    resources:
        mem_mb=DOWNLOAD.mem_mb,
        runtime=DOWNLOAD.runtime,
        gpu=DOWNLOAD.gpu,
    params:
        record=DOWNLOAD.record,
    shell:
        DOWNLOAD.shell()


rule prepare_collection:
    input:
        unpack(COLLECTION.inputs),
    output:
        manifest=COLLECTION.manifest,
    log:
        COLLECTION.log,
    benchmark:
        COLLECTION.benchmark
    conda:
        ENVIRONMENT
    threads: COLLECTION.threads
    resources:
        mem_mb=COLLECTION.mem_mb,
        runtime=COLLECTION.runtime,
        gpu=COLLECTION.gpu,
    params:
        record=COLLECTION.record,
    shell:
        COLLECTION.shell("--threads {threads}")


rule make_tokenizer:
    input:
        unpack(TOKENIZER.inputs),
    output:
        manifest=TOKENIZER.manifest,
    log:
        TOKENIZER.log,
    benchmark:
        TOKENIZER.benchmark
    conda:
        ENVIRONMENT
    threads: TOKENIZER.threads
    resources:
        mem_mb=TOKENIZER.mem_mb,
        runtime=TOKENIZER.runtime,
        gpu=TOKENIZER.gpu,
    params:
        record=TOKENIZER.record,
    shell:
        TOKENIZER.shell()


rule tokenize_texts:
    input:
        unpack(TOKENS.inputs),
    output:
        manifest=TOKENS.manifest,
    log:
        TOKENS.log,
    benchmark:
        TOKENS.benchmark
    conda:
        ENVIRONMENT
    threads: TOKENS.threads
    resources:
        mem_mb=TOKENS.mem_mb,
        runtime=TOKENS.runtime,
        gpu=TOKENS.gpu,
    params:
        record=TOKENS.record,
    shell:
        TOKENS.shell()
