ERRORS = StageRule(PLAN, "errors")
TRAJECTORY = StageRule(PLAN, "trajectory")
DIAGNOSIS = StageRule(PLAN, "diagnosis")
AGREEMENT = StageRule(PLAN, "agreement")
MOVEMENT = StageRule(PLAN, "movement")


rule count_errors:
    input:
        collection=ERRORS.parent("collection"),
        passages=ERRORS.parent("passages"),
        queries=ERRORS.parent("queries"),
    output:
        manifest=ERRORS.manifest,
    log:
        f"{ERRORS.log}.log",
    benchmark:
        f"{ERRORS.log}.tsv"
    conda:
        ENVIRONMENT
    threads: ENCODING_THREADS
    resources:
        mem_mb=4000,
        runtime=240,
        gpu=1,
    params:
        record=ERRORS.record,
    shell:
        command("count_errors", "collection", "passages", "queries")


rule follow_training:
    input:
        collection=TRAJECTORY.parent("collection"),
        model=TRAJECTORY.parent("model"),
        passages=TRAJECTORY.parent("passages"),
        index=TRAJECTORY.parent("index"),
        negatives=TRAJECTORY.parent("negatives"),
    output:
        manifest=TRAJECTORY.manifest,
    log:
        f"{TRAJECTORY.log}.log",
    benchmark:
        f"{TRAJECTORY.log}.tsv"
    conda:
        ENVIRONMENT
    threads: ENCODING_THREADS
    resources:
        mem_mb=8000,
        runtime=240,
        gpu=SEARCH_GPUS,
    params:
        record=TRAJECTORY.record,
    shell:
        command("follow_training", "collection", "model", "passages", "index", "negatives")


rule diagnose_negatives:
    input:
        collection=DIAGNOSIS.parent("collection"),
        model=DIAGNOSIS.parent("model"),
        run=DIAGNOSIS.parent("run"),
        negatives=DIAGNOSIS.parent("negatives"),
        teacher_passages=DIAGNOSIS.parent("teacher_passages"),
        teacher_queries=DIAGNOSIS.parent("teacher_queries"),
    output:
        manifest=DIAGNOSIS.manifest,
    log:
        f"{DIAGNOSIS.log}.log",
    benchmark:
        f"{DIAGNOSIS.log}.tsv"
    conda:
        ENVIRONMENT
    threads: ENCODING_THREADS
    resources:
        mem_mb=8000,
        runtime=120,
        gpu=0,
    params:
        record=DIAGNOSIS.record,
    shell:
        command("diagnose_negatives", "collection", "model", "run", "negatives", "teacher_passages", "teacher_queries")


rule compare_rankings:
    input:
        stages=AGREEMENT.parents,
    output:
        manifest=AGREEMENT.manifest,
    log:
        f"{AGREEMENT.log}.log",
    benchmark:
        f"{AGREEMENT.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        record=AGREEMENT.record,
    shell:
        command("compare_rankings", "stages")


rule project_movement:
    input:
        collection=MOVEMENT.parent("collection"),
        model=MOVEMENT.parent("model"),
        passages=MOVEMENT.parent("passages"),
    output:
        manifest=MOVEMENT.manifest,
    log:
        f"{MOVEMENT.log}.log",
    benchmark:
        f"{MOVEMENT.log}.tsv"
    conda:
        ENVIRONMENT
    threads: ENCODING_THREADS
    resources:
        mem_mb=4000,
        runtime=60,
        gpu=0,
    params:
        record=MOVEMENT.record,
    shell:
        command("project_movement", "collection", "model", "passages")
