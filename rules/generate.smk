GENERATED = stage_rule("generated")
OUTSIDE = stage_rule("outside")


rule generate_texts:
    input:
        unpack(GENERATED.inputs),
    output:
        manifest=GENERATED.manifest,
    log:
        GENERATED.log,
    benchmark:
        GENERATED.benchmark
    # It takes minutes and one training waits for it, so others go first and run beside it.
    priority: -1
    conda:
        ENVIRONMENT
    threads: GENERATED.threads
    resources:
        mem_mb=GENERATED.mem_mb,
        runtime=GENERATED.runtime,
        gpu=GENERATED.gpu,
    params:
        record=GENERATED.record,
    shell:
        GENERATED.shell()


rule tokenize_outside:
    input:
        unpack(OUTSIDE.inputs),
    output:
        manifest=OUTSIDE.manifest,
    log:
        OUTSIDE.log,
    benchmark:
        OUTSIDE.benchmark
    conda:
        ENVIRONMENT
    threads: OUTSIDE.threads
    resources:
        mem_mb=OUTSIDE.mem_mb,
        runtime=OUTSIDE.runtime,
        gpu=OUTSIDE.gpu,
    params:
        record=OUTSIDE.record,
    shell:
        OUTSIDE.shell()
