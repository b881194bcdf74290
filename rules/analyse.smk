PAIRWISE_ERRORS = stage_rule("pairwise_errors")
TRAJECTORY = stage_rule("trajectory")
DIAGNOSIS = stage_rule("diagnosis")
AGREEMENT = stage_rule("agreement")
MOVEMENT = stage_rule("movement")


rule count_errors:
    input:
        unpack(PAIRWISE_ERRORS.inputs),
    output:
        manifest=PAIRWISE_ERRORS.manifest,
    log:
        PAIRWISE_ERRORS.log,
    benchmark:
        PAIRWISE_ERRORS.benchmark
    conda:
        ENVIRONMENT
    threads: PAIRWISE_ERRORS.threads
    resources:
        mem_mb=PAIRWISE_ERRORS.mem_mb,
        runtime=PAIRWISE_ERRORS.runtime,
        gpu=PAIRWISE_ERRORS.gpu,
    params:
        record=PAIRWISE_ERRORS.record,
    shell:
        PAIRWISE_ERRORS.shell()


rule follow_training:
    input:
        unpack(TRAJECTORY.inputs),
    output:
        manifest=TRAJECTORY.manifest,
    log:
        TRAJECTORY.log,
    benchmark:
        TRAJECTORY.benchmark
    conda:
        ENVIRONMENT
    threads: TRAJECTORY.threads
    resources:
        mem_mb=TRAJECTORY.mem_mb,
        runtime=TRAJECTORY.runtime,
        gpu=TRAJECTORY.gpu,
    params:
        record=TRAJECTORY.record,
    shell:
        TRAJECTORY.shell()


rule diagnose_negatives:
    input:
        unpack(DIAGNOSIS.inputs),
    output:
        manifest=DIAGNOSIS.manifest,
    log:
        DIAGNOSIS.log,
    benchmark:
        DIAGNOSIS.benchmark
    conda:
        ENVIRONMENT
    threads: DIAGNOSIS.threads
    resources:
        mem_mb=DIAGNOSIS.mem_mb,
        runtime=DIAGNOSIS.runtime,
        gpu=DIAGNOSIS.gpu,
    params:
        record=DIAGNOSIS.record,
    shell:
        DIAGNOSIS.shell()


rule compare_rankings:
    input:
        unpack(AGREEMENT.inputs),
    output:
        manifest=AGREEMENT.manifest,
    log:
        AGREEMENT.log,
    benchmark:
        AGREEMENT.benchmark
    conda:
        ENVIRONMENT
    threads: AGREEMENT.threads
    resources:
        mem_mb=AGREEMENT.mem_mb,
        runtime=AGREEMENT.runtime,
        gpu=AGREEMENT.gpu,
    params:
        record=AGREEMENT.record,
    shell:
        AGREEMENT.shell()


rule project_movement:
    input:
        unpack(MOVEMENT.inputs),
    output:
        manifest=MOVEMENT.manifest,
    log:
        MOVEMENT.log,
    benchmark:
        MOVEMENT.benchmark
    conda:
        ENVIRONMENT
    threads: MOVEMENT.threads
    resources:
        mem_mb=MOVEMENT.mem_mb,
        runtime=MOVEMENT.runtime,
        gpu=MOVEMENT.gpu,
    params:
        record=MOVEMENT.record,
    shell:
        MOVEMENT.shell()
