EXPORT = stage_rule("export")
NEGATIVES_EXPORT = stage_rule("negatives_export")


rule export_system:
    input:
        unpack(EXPORT.inputs),
    output:
        manifest=EXPORT.manifest,
    log:
        EXPORT.log,
    benchmark:
        EXPORT.benchmark
    conda:
        ENVIRONMENT
    threads: EXPORT.threads
    resources:
        mem_mb=EXPORT.mem_mb,
        runtime=EXPORT.runtime,
        gpu=EXPORT.gpu,
    params:
        record=EXPORT.record,
    shell:
        EXPORT.shell()


rule export_negatives:
    input:
        unpack(NEGATIVES_EXPORT.inputs),
    output:
        manifest=NEGATIVES_EXPORT.manifest,
    log:
        NEGATIVES_EXPORT.log,
    benchmark:
        NEGATIVES_EXPORT.benchmark
    conda:
        ENVIRONMENT
    threads: NEGATIVES_EXPORT.threads
    resources:
        mem_mb=NEGATIVES_EXPORT.mem_mb,
        runtime=NEGATIVES_EXPORT.runtime,
        gpu=NEGATIVES_EXPORT.gpu,
    params:
        record=NEGATIVES_EXPORT.record,
    shell:
        NEGATIVES_EXPORT.shell()
