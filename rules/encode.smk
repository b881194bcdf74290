PASSAGES = stage_rule("passages")
PASSAGES_SHARD = stage_rule("passages", ".{shard}-of-{shards}")
QUERIES = stage_rule("queries")
NARROWED = stage_rule("narrowed")
WEIGHTED = stage_rule("weighted")


rule encode_passages:
    input:
        unpack(PASSAGES_SHARD.inputs),
    output:
        manifest=temp(f"{PASSAGES_SHARD.folder}/shard-{{shard}}-of-{{shards}}.json"),
    log:
        PASSAGES_SHARD.log,
    benchmark:
        PASSAGES_SHARD.benchmark
    conda:
        ENVIRONMENT
    threads: PASSAGES_SHARD.threads
    resources:
        mem_mb=PASSAGES_SHARD.mem_mb,
        runtime=PASSAGES_SHARD.runtime,
        gpu=PASSAGES_SHARD.gpu,
    params:
        record=PASSAGES_SHARD.record,
    shell:
        PASSAGES_SHARD.shell("--shard {wildcards.shard} --of {wildcards.shards}")


rule seal_passages:
    input:
        unpack(PASSAGES.inputs),
        markers=[f"{PASSAGES.folder}/shard-{shard:04d}-of-{SHARDS:04d}.json" for shard in range(SHARDS)],
    output:
        manifest=PASSAGES.manifest,
    log:
        PASSAGES.log,
    benchmark:
        PASSAGES.benchmark
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        record=PASSAGES.record,
    shell:
        PASSAGES.shell("--markers {input.markers:q}", script="seal_passages", inputs="{input.model:q} {input.tokens:q}")


rule encode_queries:
    input:
        unpack(QUERIES.inputs),
    output:
        manifest=QUERIES.manifest,
    log:
        QUERIES.log,
    benchmark:
        QUERIES.benchmark
    conda:
        ENVIRONMENT
    threads: QUERIES.threads
    resources:
        mem_mb=QUERIES.mem_mb,
        runtime=QUERIES.runtime,
        gpu=QUERIES.gpu,
    params:
        record=QUERIES.record,
    shell:
        QUERIES.shell()


rule narrow_vectors:
    input:
        unpack(NARROWED.inputs),
    output:
        manifest=NARROWED.manifest,
    log:
        NARROWED.log,
    benchmark:
        NARROWED.benchmark
    conda:
        ENVIRONMENT
    threads: NARROWED.threads
    resources:
        mem_mb=NARROWED.mem_mb,
        runtime=NARROWED.runtime,
        gpu=NARROWED.gpu,
    params:
        record=NARROWED.record,
    shell:
        NARROWED.shell()


rule weigh_passages:
    input:
        unpack(WEIGHTED.inputs),
    output:
        manifest=WEIGHTED.manifest,
    log:
        WEIGHTED.log,
    benchmark:
        WEIGHTED.benchmark
    conda:
        ENVIRONMENT
    threads: WEIGHTED.threads
    resources:
        mem_mb=WEIGHTED.mem_mb,
        runtime=WEIGHTED.runtime,
        gpu=WEIGHTED.gpu,
    params:
        record=WEIGHTED.record,
    shell:
        WEIGHTED.shell()
