MEASURE = StageRule(PLAN, "measure")
SUMMARY = json.dumps(PLAN.summary, sort_keys=True)


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
        [stages.measure.manifest for stages in PLAN.systems.values()],
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
        summary=lambda wildcards: SUMMARY,  # a function: its braces are no wildcards
    shell:
        "python -m workflow_scripts.summarise_measures --summary {params.summary:q} --output {output.measures:q} > {log:q} 2>&1"


rule write_report:
    input:
        measures=rules.summarise_measures.output.measures,
    output:
        report=f"{PLAN.results}/report.html",
    log:
        f"logs/{PLAN.dataset}/write_report.log",
    benchmark:
        f"logs/{PLAN.dataset}/write_report.tsv"
    conda:
        ENVIRONMENT
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
        gpu=0,
    params:
        summary=lambda wildcards: SUMMARY,  # a function: its braces are no wildcards
    shell:
        "python -m workflow_scripts.write_report --summary {params.summary:q}"
        " --measures {input.measures:q} --output {output.report:q} > {log:q} 2>&1"
