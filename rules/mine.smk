MINE = stage_rule("mine")
PAIR_SCORES = stage_rule("pair_scores")
CLUSTERS = stage_rule("clusters")


rule mine_negatives:
    input:
        unpack(MINE.inputs),
    output:
        manifest=MINE.manifest,
    log:
        MINE.log,
    benchmark:
        MINE.benchmark
    conda:
        ENVIRONMENT
    threads: MINE.threads
    resources:
        mem_mb=MINE.mem_mb,
        runtime=MINE.runtime,
        gpu=MINE.gpu,
    params:
        record=MINE.record,
    shell:
        MINE.shell()


rule score_pairs:
    input:
        unpack(PAIR_SCORES.inputs),
    output:
        manifest=PAIR_SCORES.manifest,
    log:
        PAIR_SCORES.log,
    benchmark:
        PAIR_SCORES.benchmark
    # As for the cross-encoder.
    priority: 1
    conda:
        ENVIRONMENT
    threads: PAIR_SCORES.threads
    resources:
        mem_mb=PAIR_SCORES.mem_mb,
        runtime=PAIR_SCORES.runtime,
        gpu=PAIR_SCORES.gpu,
    params:
        record=PAIR_SCORES.record,
    shell:
        PAIR_SCORES.shell()


rule cluster_queries:
    input:
        unpack(CLUSTERS.inputs),
    output:
        manifest=CLUSTERS.manifest,
    log:
        CLUSTERS.log,
    benchmark:
        CLUSTERS.benchmark
    conda:
        ENVIRONMENT
    threads: CLUSTERS.threads
    resources:
        mem_mb=CLUSTERS.mem_mb,
        runtime=CLUSTERS.runtime,
        gpu=CLUSTERS.gpu,
    params:
        record=CLUSTERS.record,
    shell:
        CLUSTERS.shell()
