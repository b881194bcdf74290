PASSAGES = StageRule(PLAN, "passages")
QUERIES = StageRule(PLAN, "queries")


rule encode_passages:
    input:
        model=PASSAGES.parent("model"),
        tokens=PASSAGES.parent("tokens"),
    output:
        manifest=temp(f"{PASSAGES.folder}/shard-{{shard}}-of-{{shards}}.json"),
    log:
        f"{PASSAGES.log}.{{shard}}-of-{{shards}}.log",
    benchmark:
        f"{PASSAGES.log}.{{shard}}-of-{{shards}}.tsv"
    conda:
        ENVIRONMENT
    threads: ENCODING_THREADS
    resources:
        mem_mb=4000,
        runtime=1440,
        gpu=1,
    params:
        record=PASSAGES.record,
    shell:
        command("encode_passages", "model", "tokens", more="--shard {wildcards.shard} --of {wildcards.shards}")


rule seal_passages:
    input:
        model=PASSAGES.parent("model"),
        tokens=PASSAGES.parent("tokens"),
        markers=[f"{PASSAGES.folder}/shard-{shard:04d}-of-{SHARDS:04d}.json" for shard in range(SHARDS)],
    output:
        manifest=PASSAGES.manifest,
    log:
        f"{PASSAGES.log}.log",
    benchmark:
        f"{PASSAGES.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=1000,
        runtime=60,
        gpu=0,
    params:
        record=PASSAGES.record,
    shell:
        command("seal_passages", "model", "tokens", "markers")


rule encode_queries:
    input:
        model=QUERIES.parent("model"),
        tokens=QUERIES.parent("tokens"),
    output:
        manifest=QUERIES.manifest,
    log:
        f"{QUERIES.log}.log",
    benchmark:
        f"{QUERIES.log}.tsv"
    conda:
        ENVIRONMENT
    threads: ENCODING_THREADS
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=1,
    params:
        record=QUERIES.record,
    shell:
        command("encode_queries", "model", "tokens")
