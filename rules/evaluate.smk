MEASURE = stage_rule("measure")


rule measure_run:
    input:
        unpack(MEASURE.inputs),
    output:
        manifest=MEASURE.manifest,
    log:
        MEASURE.log,
    benchmark:
        MEASURE.benchmark
    conda:
        ENVIRONMENT
    threads: MEASURE.threads
    resources:
        mem_mb=MEASURE.mem_mb,
        runtime=MEASURE.runtime,
        gpu=MEASURE.gpu,
    params:
        record=MEASURE.record,
    shell:
        MEASURE.shell()


rule summarise_measures:
    input:
        measures=[stages.measure.manifest for stages in PLAN.systems.values()],
        elsewhere=[s.manifest for at in PLAN.scored if at.dataset != PLAN.dataset for s in at.measures.values()],
        exports=[stage.manifest for stage in PLAN.exports.values()],
    output:
        measures=local(f"{PLAN.results}/measures.csv"),
    log:
        f"logs/{PLAN.dataset}/summarise_measures.log",
    benchmark:
        f"logs/{PLAN.dataset}/summarise_measures.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        brief=str(BRIEF_FILE),
        digest=BRIEF_DIGEST,
    shell:
        reporting("summarise_measures", "measures")
