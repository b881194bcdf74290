MEASURE = StageRule(PLAN, "measure")


rule measure_run:
    input:
        collection=MEASURE.parent("collection"),
        run=MEASURE.parent("run"),
    output:
        manifest=MEASURE.manifest,
    log:
        f"{MEASURE.log}.log",
    benchmark:
        f"{MEASURE.log}.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=60,
        gpu=0,
    params:
        record=MEASURE.record,
    shell:
        command("measure_run", "collection", "run")


rule summarise_measures:
    input:
        measures=[stages.measure.manifest for stages in PLAN.systems.values()],
        exports=[stage.manifest for stage in PLAN.exports.values()],
    output:
        measures=f"{PLAN.results}/measures.csv",
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
        plan=str(PLAN_FILE),
        digest=PLAN_DIGEST,
    shell:
        "python -m workflow_scripts.summarise_measures --summary {params.plan:q} --output {output.measures:q} > {log:q} 2>&1"
