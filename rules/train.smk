DUAL_ENCODER = stage_rule("dual_encoder")
QUERY_ENCODER = stage_rule("query_encoder")
CROSS_ENCODER = stage_rule("cross_encoder")
LATE_INTERACTION = stage_rule("late_interaction")
DEEPCT = stage_rule("deepct")


rule train_dual_encoder:
    input:
        unpack(DUAL_ENCODER.inputs),
    output:
        manifest=DUAL_ENCODER.manifest,
    log:
        DUAL_ENCODER.log,
    benchmark:
        DUAL_ENCODER.benchmark
    conda:
        ENVIRONMENT
    threads: DUAL_ENCODER.threads
    resources:
        mem_mb=DUAL_ENCODER.mem_mb,
        runtime=DUAL_ENCODER.runtime,
        gpu=DUAL_ENCODER.gpu,
    params:
        record=DUAL_ENCODER.record,
    shell:
        DUAL_ENCODER.shell()


rule train_query_encoder:
    input:
        unpack(QUERY_ENCODER.inputs),
    output:
        manifest=QUERY_ENCODER.manifest,
    log:
        QUERY_ENCODER.log,
    benchmark:
        QUERY_ENCODER.benchmark
    conda:
        ENVIRONMENT
    threads: QUERY_ENCODER.threads
    resources:
        mem_mb=QUERY_ENCODER.mem_mb,
        runtime=QUERY_ENCODER.runtime,
        gpu=QUERY_ENCODER.gpu,
    params:
        record=QUERY_ENCODER.record,
    shell:
        QUERY_ENCODER.shell()


rule train_cross_encoder:
    input:
        unpack(CROSS_ENCODER.inputs),
    output:
        manifest=CROSS_ENCODER.manifest,
    log:
        CROSS_ENCODER.log,
    benchmark:
        CROSS_ENCODER.benchmark
    # It takes long, and all that it teaches waits for it.
    priority: 1
    conda:
        ENVIRONMENT
    threads: CROSS_ENCODER.threads
    resources:
        mem_mb=CROSS_ENCODER.mem_mb,
        runtime=CROSS_ENCODER.runtime,
        gpu=CROSS_ENCODER.gpu,
    params:
        record=CROSS_ENCODER.record,
    shell:
        CROSS_ENCODER.shell()


rule train_late_interaction:
    input:
        unpack(LATE_INTERACTION.inputs),
    output:
        manifest=LATE_INTERACTION.manifest,
    log:
        LATE_INTERACTION.log,
    benchmark:
        LATE_INTERACTION.benchmark
    conda:
        ENVIRONMENT
    threads: LATE_INTERACTION.threads
    resources:
        mem_mb=LATE_INTERACTION.mem_mb,
        runtime=LATE_INTERACTION.runtime,
        gpu=LATE_INTERACTION.gpu,
    params:
        record=LATE_INTERACTION.record,
    shell:
        LATE_INTERACTION.shell()


rule train_deepct:
    input:
        unpack(DEEPCT.inputs),
    output:
        manifest=DEEPCT.manifest,
    log:
        DEEPCT.log,
    benchmark:
        DEEPCT.benchmark
    conda:
        ENVIRONMENT
    threads: DEEPCT.threads
    resources:
        mem_mb=DEEPCT.mem_mb,
        runtime=DEEPCT.runtime,
        gpu=DEEPCT.gpu,
    params:
        record=DEEPCT.record,
    shell:
        DEEPCT.shell()
