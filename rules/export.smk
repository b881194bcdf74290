EXPORT = stage_rule("export")


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
